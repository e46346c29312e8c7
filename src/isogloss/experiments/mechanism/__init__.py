"""The paper's mechanism, measured: does gradient alignment go with transfer, and what raises it?"""
