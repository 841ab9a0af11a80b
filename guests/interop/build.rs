//! Generates the messages and the service trait, without what clients expect to be unimplemented.

fn main() -> Result<(), switchboard_guest_build::Error> {
    switchboard_guest_build::configure()
        .leave_out("grpc.testing.TestService.UnimplementedCall")
        .leave_out("grpc.testing.UnimplementedService")
        .compile(&["../../proto/grpc/testing/test.proto"], &["../../proto"])
}
