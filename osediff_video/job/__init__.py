"""Keep a job resumable: what it is of, where its unfinished work lies, and which results are finished."""
