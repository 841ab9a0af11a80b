//! Clients and servers of the sample services and of the peer's own, compiled without protoc.
//!
//! Nothing of tonic's transport is generated: that is what the client replaces.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    println!("cargo::rerun-if-changed=../../proto");
    let protos = ["testservice/testservice.proto", "peer.proto"];
    let descriptors = protox::compile(protos, ["../../proto", "proto"])?;
    tonic_prost_build::configure()
        .build_transport(false)
        .compile_fds(descriptors)?;
    Ok(())
}
