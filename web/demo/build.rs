//! Clients of the sample services, from what `proto/` says, compiled without protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let protos = [
        "helloworld/helloworld.proto",
        "testservice/testservice.proto",
    ];
    println!("cargo::rerun-if-changed=../../proto");
    let descriptors = protox::compile(protos, ["../../proto"])?;
    tonic_prost_build::configure()
        .build_server(false)
        .build_transport(false)
        .compile_fds(descriptors)?;
    Ok(())
}
