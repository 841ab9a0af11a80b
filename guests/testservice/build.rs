//! Generates the messages and the service traits from the `.proto`.

fn main() -> Result<(), switchboard_guest_build::Error> {
    switchboard_guest_build::compile(
        &["../../proto/testservice/testservice.proto"],
        &["../../proto"],
    )
}
