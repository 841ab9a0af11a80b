#!/usr/bin/env python3
"""Asks a running Switchboard what balancers and tools ask, with the packages that gRPC publishes for it.

    python health_reflection.py HOST:PORT

Needs the plugins `greeter`, `testservice` and `echo`, the last of which carries no descriptors. Prints
one line for each check, then `N passed, M failed`, then `watching`: from then on it waits for the host to
stop, and checks what those who watch are told. The exit code is 1 when a check failed.

Owns what foreign clients of grpc.health.v1 and grpc.reflection see: the published stubs, the client's own
health checking, and a call that is made out of nothing but what reflection told. Every call has a
deadline, except for the one that watches; whoever runs this bounds it.
"""

import json
import sys

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from checks import PATIENCE_SECONDS, check, equal, holds, run

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
# A local proxy setting of the machine is no part of what is checked.
OPTIONS = [("grpc.enable_http_proxy", 0)]


class Peer:
    def __init__(self, address):
        self.address = address
        self.channel = grpc.insecure_channel(address, options=OPTIONS)
        grpc.channel_ready_future(self.channel).result(timeout=PATIENCE_SECONDS)
        self.health = health_pb2_grpc.HealthStub(self.channel)
        self.database = ProtoReflectionDescriptorDatabase(self.channel)
        self.pool = DescriptorPool(self.database)

    def state(self, service):
        request = health_pb2.HealthCheckRequest(service=service)
        return self.health.Check(request, timeout=PATIENCE_SECONDS).status

    def watch(self, service):
        return self.health.Watch(health_pb2.HealthCheckRequest(service=service))

    def channel_that_checks(self, service):
        """A channel that calls only while `service` is healthy, as clients with balancers do."""
        config = {
            "loadBalancingConfig": [{"round_robin": {}}],
            "healthCheckConfig": {"serviceName": service},
        }
        options = [*OPTIONS, ("grpc.service_config", json.dumps(config))]
        return grpc.insecure_channel(self.address, options=options)

    def method(self, service, name):
        return self.pool.FindServiceByName(service).FindMethodByName(name)


@check
def the_whole_and_each_service(peer):
    """health: the whole host and each service are SERVING"""
    for service in ["", *peer.database.get_services()]:
        equal(peer.state(service), SERVING, f"state of {service!r}")


@check
def unknown_services(peer):
    """health: a service that is not there is NOT_FOUND, and SERVICE_UNKNOWN to who watches"""
    try:
        peer.state("nobody.Home")
    except grpc.RpcError as error:
        equal(error.code(), grpc.StatusCode.NOT_FOUND, "code")
    else:
        raise AssertionError("a state of a service that is not there")
    watching = peer.watch("nobody.Home")
    equal(next(watching).status, SERVICE_UNKNOWN, "state")
    watching.cancel()


@check
def the_clients_own_checking(peer):
    """health: a client that checks by itself calls a healthy service and no other"""
    for service, code in (
        ("echo.Echo", grpc.StatusCode.OK),
        ("nobody.Home", grpc.StatusCode.UNAVAILABLE),
    ):
        with peer.channel_that_checks(service) as channel:
            echo = channel.unary_unary("/echo.Echo/Unary")
            call = echo.future(b"checked", timeout=PATIENCE_SECONDS)
            equal(call.code(), code, f"code of a call that asks for {service}")


@check
def a_call_from_nothing(peer):
    """reflection: a call made out of nothing but descriptors"""
    method = peer.method("helloworld.Greeter", "SayHello")
    request = GetMessageClass(method.input_type)(name="reflected")
    answer_class = GetMessageClass(method.output_type)
    call = peer.channel.unary_unary(
        f"/{method.containing_service.full_name}/{method.name}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=answer_class.FromString,
    )
    equal(call(request, timeout=PATIENCE_SECONDS).message, "Hello reflected", "answer")


@check
def every_described_service(peer):
    """reflection: every listed service has methods whose messages are known, but those of echo"""
    listed = peer.database.get_services()
    for service in ("helloworld.Greeter", "testservice.Probe", "echo.Echo", "grpc.health.v1.Health"):
        holds(service in listed, f"{service} is not listed: {listed}")
    for service in listed:
        if service == "echo.Echo":
            continue
        descriptor = peer.pool.FindServiceByName(service)
        holds(descriptor.methods, f"{service} has no methods")
        for method in descriptor.methods:
            GetMessageClass(method.input_type)()
            GetMessageClass(method.output_type)()


@check
def kinds_of_methods(peer):
    """reflection: streams are told from single messages"""
    kinds = {
        name: (method.client_streaming, method.server_streaming)
        for name in ("Add", "Sum", "Count", "Running")
        for method in [peer.method("testservice.TestService", name)]
    }
    wanted = {"Add": (0, 0), "Sum": (1, 0), "Count": (0, 1), "Running": (1, 1)}
    equal({name: tuple(map(int, kind)) for name, kind in kinds.items()}, wanted, "kinds")


@check
def what_is_not_there(peer):
    """reflection: what is not there, or not described, is an error that the client understands"""
    for look in (
        lambda: peer.database.FindFileContainingSymbol("echo.Echo"),
        lambda: peer.database.FindFileContainingSymbol("nobody.Home"),
        lambda: peer.database.FindFileByName("nobody/home.proto"),
        lambda: peer.database.FindAllExtensionNumbers("nobody.Home"),
    ):
        try:
            found = look()
        except KeyError:
            continue
        raise AssertionError(f"found {found}")


@check
def every_kind_of_symbol(peer):
    """reflection: files are found by messages, fields, enums, their values, and methods"""
    for symbol in (
        "testservice.WaitEvent",
        "testservice.FloodRequest.size_bytes",
        "testservice.WaitEventKind",
        "testservice.WAIT_EVENT_KIND_END",
        "testservice.TestService.Add",
    ):
        # Without what the client remembers.
        database = ProtoReflectionDescriptorDatabase(peer.channel)
        request = database._do_one_request
        answers = []
        database._do_one_request = lambda *a, **k: answers.append(request(*a, **k)) or answers[-1]
        try:
            database.FindFileContainingSymbol(symbol)
        except KeyError:
            # The published client asks for every symbol and indexes fewer of them.
            pass
        files = [len(answer.file_descriptor_response.file_descriptor_proto) for answer in answers]
        equal(files, [1], f"files for {symbol}")


def until_the_end(peer):
    """Watches until the host stops: it says so before it goes."""
    watching = [peer.watch(""), peer.watch("helloworld.Greeter")]
    for each in watching:
        equal(next(each).status, SERVING, "first state")
    print("watching", flush=True)
    for each in watching:
        equal(next(each).status, NOT_SERVING, "last state")
        try:
            rest = list(each)
        except grpc.RpcError as error:
            equal(error.code(), grpc.StatusCode.UNAVAILABLE, "the end")
        else:
            raise AssertionError(f"ended with OK, after {rest}")
    print("told", flush=True)


def main(arguments):
    if len(arguments) != 1:
        print("usage: health_reflection.py HOST:PORT", file=sys.stderr)
        return 2
    peer = Peer(arguments[0])
    with peer.channel:
        failed = run(peer)
        until_the_end(peer)
        return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
