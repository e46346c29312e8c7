"""What CL-ICP costs by Isogloss, by PEFT with transformers' Trainer, and by transformers alone.

`python -m benchmarks.engine` measures one model at one data set's lengths; `python -m
benchmarks.engine.curves` how cost grows. Every program gets the same episodes from `work`.
"""
