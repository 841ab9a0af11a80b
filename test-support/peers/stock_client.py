#!/usr/bin/env python3
"""Calls a running Switchboard with the gRPC client everybody else uses (grpcio).

    python stock_client.py ADDRESS PROTO_ROOT [CA CERTIFICATE KEY]

ADDRESS is HOST:PORT or unix:PATH; the three files are PEM, for a server on `localhost` that asks for a
certificate.

Needs the plugins `greeter` and `testservice`. Prints one line for each check and a last line
`N passed, M failed`; the exit code is 1 when a check failed and 2 when it could not begin.

Owns what a foreign client sees on the wire: answers, all four kinds of call, metadata, statuses,
deadlines, cancellation, limits. Knows nothing of the host but its address, so the same checks hold
against any server that implements the two .proto files. Every call has a deadline: a server that
hangs fails a check, never the run.
"""

import importlib
import pathlib
import queue
import sys
import tempfile

import grpc
from grpc_tools import protoc

from checks import PATIENCE_SECONDS, check, equal, holds, run

# A client's own deadline: long enough to reach a busy server, short enough to wait for.
SHORT_SECONDS = 0.5
# What a plugin is asked to wait when its caller's deadline has to come first.
LONG_MS = 600_000
MIB = 1 << 20
PROTOS = ["helloworld/helloworld.proto", "testservice/testservice.proto"]
CODES = {code.value[0]: code for code in grpc.StatusCode}


class Peer:
    """The channel, the stubs, and the generated message types."""

    def __init__(self, address, proto_root, files, generated):
        include = pathlib.Path(protoc.__file__).parent / "_proto"
        arguments = ["protoc", f"-I{proto_root}", f"-I{include}"]
        arguments += [f"--python_out={generated}", f"--grpc_python_out={generated}", *PROTOS]
        if protoc.main(arguments) != 0:
            raise RuntimeError(f"the protos under {proto_root} do not compile")
        sys.path.insert(0, generated)
        self.hello = importlib.import_module("helloworld.helloworld_pb2")
        self.test = importlib.import_module("testservice.testservice_pb2")
        hello_rpc = importlib.import_module("helloworld.helloworld_pb2_grpc")
        test_rpc = importlib.import_module("testservice.testservice_pb2_grpc")
        # A local proxy setting of the machine is no part of what is checked.
        options = [("grpc.enable_http_proxy", 0), ("grpc.max_receive_message_length", 64 * MIB)]
        if address.startswith("unix:"):
            # Of itself it names the path, which HTTP/2 here does not take for an authority.
            options.append(("grpc.default_authority", "localhost"))
        if files:
            ca, certificate, key = (pathlib.Path(file).read_bytes() for file in files)
            credentials = grpc.ssl_channel_credentials(ca, key, certificate)
            options.append(("grpc.ssl_target_name_override", "localhost"))
            self.channel = grpc.secure_channel(address, credentials, options=options)
        else:
            self.channel = grpc.insecure_channel(address, options=options)
        grpc.channel_ready_future(self.channel).result(timeout=PATIENCE_SECONDS)
        self.greeter = hello_rpc.GreeterStub(self.channel)
        self.sums = test_rpc.TestServiceStub(self.channel)
        self.probe = test_rpc.ProbeStub(self.channel)

    def greet(self, name, **options):
        options.setdefault("timeout", PATIENCE_SECONDS)
        return self.greeter.SayHello(self.hello.HelloRequest(name=name), **options).message

    def number(self, value):
        return self.test.Number(value=value)

    def numbers(self, values):
        return iter([self.number(value) for value in values])

    def metadata(self, pairs):
        return [self.test.Metadata(key=key, value=value) for key, value in pairs]

    def raw(self, path, body=b"", **options):
        """A unary call by path, bytes in and bytes out."""
        options.setdefault("timeout", PATIENCE_SECONDS)
        return self.channel.unary_unary(path)(body, **options)


class Requests:
    """A request stream that is fed by hand, so that a check decides what is sent when."""

    _END = object()

    def __init__(self):
        self._queue = queue.Queue()

    def send(self, message):
        self._queue.put(message)

    def end(self):
        self._queue.put(self._END)

    def __iter__(self):
        return self

    def __next__(self):
        # The limit only ends the client's feeding thread when a check has failed half-way.
        item = self._queue.get(timeout=2 * PATIENCE_SECONDS)
        if item is self._END:
            raise StopIteration
        return item


def failure_of(start):
    """The error that the call ends with."""
    try:
        answer = start()
    except grpc.RpcError as error:
        return error
    raise AssertionError(f"the call succeeded with {str(answer)[:80]!r}")


def pairs_of(metadata, *keys):
    return [(key, value) for key, value in metadata or () if key in keys]


# -- answers, and the four kinds of call


@check
def unary_greeter(peer):
    """unary: greeter answers"""
    equal(peer.greet("you"), "Hello you", "answer")


@check
def unary_empty_and_utf8(peer):
    """unary: an empty message, and one that is not ASCII"""
    equal(peer.greet(""), "Hello ", "answer to nobody")
    equal(peer.greet("Zoë ☃ 你好"), "Hello Zoë ☃ 你好", "answer")


@check
def unary_add(peer):
    """unary: testservice adds, and its own error comes through"""
    request = peer.test.AddRequest(a=20, b=22)
    equal(peer.sums.Add(request, timeout=PATIENCE_SECONDS).value, 42, "sum")
    too_much = peer.test.AddRequest(a=2**63 - 1, b=1)
    error = failure_of(lambda: peer.sums.Add(too_much, timeout=PATIENCE_SECONDS))
    equal(error.code(), grpc.StatusCode.OUT_OF_RANGE, "code of an overflow")


@check
def unary_many_at_once(peer):
    """unary: 64 calls in flight on one connection, each gets its own answer"""
    calls = [
        peer.greeter.SayHello.future(
            peer.hello.HelloRequest(name=str(number)), timeout=PATIENCE_SECONDS
        )
        for number in range(64)
    ]
    answers = [call.result().message for call in calls]
    equal(answers, [f"Hello {number}" for number in range(64)], "answers")


@check
def compressed_requests(peer):
    """compression: gzip and deflate, unary and streamed, small and large"""
    for compression in (grpc.Compression.Gzip, grpc.Compression.Deflate):
        for name in ("you", "you and me " * 20_000):
            equal(peer.greet(name, compression=compression), f"Hello {name}", "answer")
        total = peer.sums.Sum(
            peer.numbers(range(100)), timeout=PATIENCE_SECONDS, compression=compression
        )
        equal((total.count, total.total), (100, 4950), "count and total")


@check
def client_streaming(peer):
    """client streaming: none, one and a thousand messages"""
    for values in ([], [7], list(range(1000))):
        total = peer.sums.Sum(peer.numbers(values), timeout=PATIENCE_SECONDS)
        equal((total.count, total.total), (len(values), sum(values)), "count and total")


@check
def server_streaming(peer):
    """server streaming: none, some and a thousand messages, in order"""
    for first, last in ((5, 4), (-2, 2), (1, 1000)):
        request = peer.test.CountRequest(**{"from": first, "to": last})
        got = [number.value for number in peer.sums.Count(request, timeout=PATIENCE_SECONDS)]
        equal(got, list(range(first, last + 1)), f"numbers from {first} to {last}")


@check
def bidi_in_turns(peer):
    """bidi: each message is answered before the next is sent"""
    requests = Requests()
    call = peer.sums.Running(requests, timeout=PATIENCE_SECONDS)
    total = 0
    for count, value in enumerate([3, -1, 40], start=1):
        requests.send(peer.number(value))
        total += value
        answer = next(call)
        equal((answer.count, answer.total), (count, total), "running count and total")
    requests.end()
    equal(list(call), [], "messages after the end")
    equal(call.code(), grpc.StatusCode.OK, "status")


@check
def bidi_empty_and_early(peer):
    """bidi: a caller that sends nothing, and a plugin that ends before its caller"""
    equal(list(peer.sums.Running(iter([]), timeout=PATIENCE_SECONDS)), [], "answers to nothing")
    requests = Requests()
    call = peer.probe.Early(requests, timeout=PATIENCE_SECONDS)
    requests.send(peer.number(9))
    equal([answer.value for answer in call], [9], "answers")
    equal(call.code(), grpc.StatusCode.OK, "status, with the caller's side still open")
    requests.end()


# -- metadata


@check
def metadata_reaches_the_plugin(peer):
    """metadata: text, repeated and -bin keys reach the plugin, and the deadline and the peer do"""
    sent = [
        ("x-text", "plain words"),
        ("x-twice", "first"),
        ("x-twice", "second"),
        ("x-blob-bin", bytes(range(256))),
        ("x-empty-bin", b""),
    ]
    request = peer.test.ContextRequest(keys=["x-text", "x-twice", "x-blob-bin", "x-absent"])
    seen = peer.probe.Context(request, metadata=sent, timeout=PATIENCE_SECONDS)
    every = [(entry.key, entry.value) for entry in seen.metadata]
    for key in ("x-text", "x-twice", "x-blob-bin", "x-empty-bin"):
        wanted = [v if isinstance(v, bytes) else v.encode() for k, v in sent if k == key]
        equal([v for k, v in every if k == key], wanted, f"values of {key}")
    looked_up = {entry.key: entry.value for entry in seen.looked_up}
    wanted = {"x-text": b"plain words", "x-twice": b"first", "x-blob-bin": bytes(range(256))}
    equal(looked_up, wanted, "first values")
    holds(seen.HasField("time_left_ns"), "the plugin sees no deadline")
    # grpcio rounds a timeout up by as much as a hundredth before it sends it.
    most = PATIENCE_SECONDS * 10**9 * 102 // 100
    holds(0 < seen.time_left_ns <= most, f"time left: {seen.time_left_ns} ns")
    holds(seen.peer, "the plugin sees no peer")
    holds(not seen.cancelled, "the plugin sees a call that is over")


@check
def no_deadline_is_none(peer):
    """metadata: without a deadline the plugin sees none"""
    call = peer.probe.Context.future(peer.test.ContextRequest())
    seen = call.result(timeout=PATIENCE_SECONDS)
    holds(not seen.HasField("time_left_ns"), f"time left: {seen.time_left_ns} ns")


@check
def headers_and_trailers(peer):
    """metadata: headers and trailers of the plugin, -bin ones raw"""
    blob = bytes([0, 255, 128, 10, 13])
    request = peer.test.DecorateRequest(
        headers=peer.metadata([("x-head", b"one"), ("x-head", b"two"), ("x-head-bin", blob)]),
        trailers=peer.metadata([("x-tail", b"three"), ("x-tail-bin", blob)]),
    )
    answer, call = peer.probe.Decorate.with_call(request, timeout=PATIENCE_SECONDS)
    equal(list(answer.refused), [], "refused entries")
    headers = pairs_of(call.initial_metadata(), "x-head", "x-head-bin", "x-tail")
    # Entries of one key keep their order; nothing is promised between keys.
    equal(
        sorted(headers, key=lambda pair: pair[0]),
        [("x-head", "one"), ("x-head", "two"), ("x-head-bin", blob)],
        "headers",
    )
    trailers = pairs_of(call.trailing_metadata(), "x-tail", "x-tail-bin", "x-head")
    equal(sorted(trailers), [("x-tail", "three"), ("x-tail-bin", blob)], "trailers")


@check
def reserved_metadata_is_refused(peer):
    """metadata: a plugin cannot set what belongs to the protocol"""
    request = peer.test.DecorateRequest(
        headers=peer.metadata([("grpc-status", b"0"), ("content-type", b"text/html")]),
        trailers=peer.metadata([("grpc-message", b"forged"), ("x-tail", b"kept")]),
    )
    answer, call = peer.probe.Decorate.with_call(request, timeout=PATIENCE_SECONDS)
    equal(len(answer.refused), 3, f"refused entries in {list(answer.refused)}")
    equal(call.code(), grpc.StatusCode.OK, "status")
    equal(pairs_of(call.trailing_metadata(), "x-tail"), [("x-tail", "kept")], "trailers")


# -- statuses


@check
def every_code(peer):
    """errors: all 16 codes, with text that is not ASCII, details and trailers"""
    text = "it broke: 100 % Ärger ☃\nsecond line"
    details = bytes([8, 5, 18, 1, 0x78, 0, 255])
    for value in range(1, 17):
        failure = peer.test.Failure(
            code=value,
            message=text,
            details=details,
            trailers=peer.metadata([("x-why", b"because"), ("x-why-bin", details)]),
        )
        error = failure_of(lambda: peer.probe.Fail(failure, timeout=PATIENCE_SECONDS))
        equal(error.code(), CODES[value], f"code {value}")
        equal(error.details(), text, f"message with code {value}")
        wanted = [("grpc-status-details-bin", details), ("x-why", "because"), ("x-why-bin", details)]
        got = pairs_of(error.trailing_metadata(), *(key for key, _ in wanted))
        equal(sorted(got), wanted, f"trailers with code {value}")


@check
def error_without_text(peer):
    """errors: no message and no details"""
    failure = peer.test.Failure(code=5)
    error = failure_of(lambda: peer.probe.Fail(failure, timeout=PATIENCE_SECONDS))
    equal((error.code(), error.details()), (grpc.StatusCode.NOT_FOUND, ""), "code and message")
    got = pairs_of(error.trailing_metadata(), "grpc-status-details-bin")
    equal(got, [], "details")


@check
def stream_error_keeps_its_code(peer):
    """errors: a stream that fails after three messages delivers them, then its own status"""
    failure = peer.test.Failure(code=9, message="enough")
    request = peer.test.FailAfterRequest(count=3, failure=failure)
    call = peer.probe.FailAfter(request, timeout=PATIENCE_SECONDS)
    got = []
    error = failure_of(lambda: [got.append(number.value) for number in call])
    equal(got, [1, 2, 3], "messages before the failure")
    equal(
        (error.code(), error.details()),
        (grpc.StatusCode.FAILED_PRECONDITION, "enough"),
        "code and message",
    )


@check
def unknown_names(peer):
    """errors: an unknown method, service and path are UNIMPLEMENTED"""
    for path in ("/testservice.TestService/Nope", "/nobody.Home/Add", "/testservice.TestService/add"):
        error = failure_of(lambda: peer.raw(path))
        equal(error.code(), grpc.StatusCode.UNIMPLEMENTED, f"code of {path}")
        holds(error.details(), f"{path}: an error without a message")


@check
def bytes_that_are_no_message(peer):
    """errors: bytes that are no message are an error, and the next call is served"""
    error = failure_of(lambda: peer.raw("/helloworld.Greeter/SayHello", b"\x0a\xff\xff"))
    expected = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL)
    holds(error.code() in expected, f"code {error.code()}")
    equal(peer.greet("next"), "Hello next", "answer afterwards")


# -- deadlines and cancellation


@check
def deadline_of_the_server(peer):
    """deadline: the server ends a call by itself when its grpc-timeout has passed"""
    # Given as metadata, the timeout is only on the wire: this client keeps no clock of its own, so
    # whatever ends the call came from the other side.
    on_the_wire = [("grpc-timeout", "300m")]
    sleep = peer.probe.Sleep.future(peer.test.SleepRequest(duration_ms=LONG_MS), metadata=on_the_wire)
    wait = peer.probe.Wait(Requests(), metadata=on_the_wire)
    for name, outcome in (
        ("a unary call", lambda: sleep.result(timeout=PATIENCE_SECONDS)),
        ("a stream", lambda: list(wait)),
    ):
        error = failure_of(outcome)
        equal(error.code(), grpc.StatusCode.DEADLINE_EXCEEDED, f"code of {name}")


@check
def deadline_of_the_client(peer):
    """deadline: a client's own deadline, unary and stream, and the next call is served"""
    request = peer.test.SleepRequest(duration_ms=LONG_MS)
    error = failure_of(lambda: peer.probe.Sleep(request, timeout=SHORT_SECONDS))
    equal(error.code(), grpc.StatusCode.DEADLINE_EXCEEDED, "code of a unary call")
    count = peer.test.CountRequest(**{"from": 1, "to": 3, "pause_ms": LONG_MS})
    error = failure_of(lambda: list(peer.sums.Count(count, timeout=SHORT_SECONDS)))
    equal(error.code(), grpc.StatusCode.DEADLINE_EXCEEDED, "code of a stream")
    equal(peer.greet("next"), "Hello next", "answer afterwards")


@check
def cancelled_streams_are_freed(peer):
    """cancellation: 200 streams cancelled half-way leave room for the next"""
    waiting = peer.test.WAIT_EVENT_KIND_WAITING
    for number in range(200):
        requests = Requests()
        call = peer.probe.Wait(requests, timeout=PATIENCE_SECONDS)
        equal(next(call).kind, waiting, f"first event of stream {number}")
        call.cancel()
        error = failure_of(lambda: list(call))
        equal(error.code(), grpc.StatusCode.CANCELLED, f"code of stream {number}")
        requests.end()
    requests = Requests()
    call = peer.probe.Wait(requests, timeout=PATIENCE_SECONDS)
    equal(next(call).kind, waiting, "first event afterwards")
    requests.send(peer.number(1))
    equal(next(call).kind, peer.test.WAIT_EVENT_KIND_MESSAGE, "event for a message")
    requests.end()
    equal([event.kind for event in call], [peer.test.WAIT_EVENT_KIND_END], "last events")


@check
def cancelled_unary_calls_are_freed(peer):
    """cancellation: 100 unary calls cancelled in flight leave room for the next"""
    request = peer.test.SleepRequest(duration_ms=LONG_MS)
    calls = [peer.probe.Sleep.future(request, timeout=PATIENCE_SECONDS) for _ in range(100)]
    for call in calls:
        call.cancel()
    holds(all(call.cancelled() for call in calls), "a call that was cancelled has another end")
    answer = peer.probe.Sleep(peer.test.SleepRequest(duration_ms=0), timeout=PATIENCE_SECONDS)
    holds(answer.calls >= 1, "an instance that counts no calls")


# -- sizes


@check
def large_messages(peer):
    """sizes: a message of 1 MiB there and back"""
    name = "x" * MIB
    holds(peer.greet(name) == "Hello " + name, "the answer is not what was sent")


@check
def large_stream(peer):
    """sizes: 64 blocks of 64 KiB, whole and in order"""
    request = peer.test.FloodRequest(count=64, size_bytes=64 << 10)
    blocks = list(peer.probe.Flood(request, timeout=PATIENCE_SECONDS))
    equal([block.index for block in blocks], list(range(64)), "indices")
    for block in blocks:
        holds(block.data == bytes([block.index]) * (64 << 10), f"data of block {block.index}")


@check
def message_over_the_limit(peer):
    """sizes: a request over the limit is RESOURCE_EXHAUSTED, and the next call is served"""
    error = failure_of(lambda: peer.greet("x" * (8 * MIB)))
    equal(error.code(), grpc.StatusCode.RESOURCE_EXHAUSTED, "code")
    equal(peer.greet("next"), "Hello next", "answer afterwards")


def main(arguments):
    if len(arguments) not in (2, 5):
        usage = "usage: stock_client.py ADDRESS PROTO_ROOT [CA CERTIFICATE KEY]"
        print(usage, file=sys.stderr)
        return 2
    address, proto_root, *files = arguments
    with tempfile.TemporaryDirectory() as generated:
        try:
            peer = Peer(address, proto_root, files, generated)
        except grpc.FutureTimeoutError:
            print(f"nobody answers on {address}", file=sys.stderr)
            return 2
        except (RuntimeError, ImportError) as error:
            print(error, file=sys.stderr)
            return 2
        with peer.channel:
            return 1 if run(peer) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
