"""Let the stages of the chain overlap in bounded queues, and give frames to the model in order."""
