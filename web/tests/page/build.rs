//! Clients of the sample services, compiled without protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = "../../../proto";
    let protos = [
        "helloworld/helloworld.proto",
        "echo/echo.proto",
        "testservice/testservice.proto",
    ];
    println!("cargo::rerun-if-changed={folder}");
    let descriptors = protox::compile(protos, [folder])?;
    tonic_prost_build::configure()
        .build_server(false)
        // A client that connects by itself is tonic's own, with sockets that no browser has.
        .build_transport(false)
        .compile_fds(descriptors)?;
    Ok(())
}
