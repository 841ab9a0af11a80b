//! Clients of the sample services, for tests: what `proto/` says, compiled without protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let protos = [
        "helloworld/helloworld.proto",
        "echo/echo.proto",
        "testservice/testservice.proto",
        "grpc/testing/test.proto",
    ];
    println!("cargo::rerun-if-changed=../proto");
    let descriptors = protox::compile(protos, ["../proto"])?;
    tonic_prost_build::configure()
        .build_server(false)
        .compile_fds(descriptors)?;
    Ok(())
}
