//! Generates the messages and the service trait from the `.proto`.

fn main() -> Result<(), switchboard_guest_build::Error> {
    switchboard_guest_build::compile(
        &["../../proto/helloworld/helloworld.proto"],
        &["../../proto"],
    )
}
