//! Servers of the sample services for tests that need one without the host, compiled without protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = "../../proto";
    let protos = [
        "helloworld/helloworld.proto",
        "testservice/testservice.proto",
    ];
    println!("cargo::rerun-if-changed={folder}");
    let descriptors = protox::compile(protos, [folder])?;
    tonic_prost_build::configure()
        .build_client(false)
        .compile_fds(descriptors)?;
    Ok(())
}
