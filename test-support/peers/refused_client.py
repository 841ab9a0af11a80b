#!/usr/bin/env python3
"""Makes calls that cannot succeed with the gRPC client everybody else uses (grpcio).

    python refused_client.py HOST:PORT COUNT

Prints one line for each call: the name of its code, and its message. Owns what a foreign client makes of a
refusal; knows nothing of who refuses, or why. Calls follow each other on one channel, as those of a service
do. Every call has a deadline: a server that hangs gives DEADLINE_EXCEEDED, never a run that hangs.
"""

import sys

import grpc

PATIENCE_SECONDS = 20


def main():
    address, count = sys.argv[1], int(sys.argv[2])
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary("/no.Service/Method")
        for _ in range(count):
            try:
                call(b"request", timeout=PATIENCE_SECONDS)
                print("OK")
            except grpc.RpcError as error:
                print(error.code().name, error.details())


if __name__ == "__main__":
    main()
