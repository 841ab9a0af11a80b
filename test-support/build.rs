//! Clients of the sample services, for tests: what `proto/` says, compiled without protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let protos = [
        "helloworld/helloworld.proto",
        "echo/echo.proto",
        "testservice/testservice.proto",
        "grpc/testing/test.proto",
        "grpc/health/v1/health.proto",
        "grpc/reflection/v1/reflection.proto",
        "grpc/reflection/v1alpha/reflection.proto",
        "switchboard/admin/v1/admin.proto",
    ];
    println!("cargo::rerun-if-changed=../proto");
    // What the host says of its own services, which it keeps a copy of.
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    for (name, proto) in [
        ("health", "grpc/health/v1/health.proto"),
        ("reflection_v1", "grpc/reflection/v1/reflection.proto"),
        ("admin", "switchboard/admin/v1/admin.proto"),
        (
            "reflection_v1alpha",
            "grpc/reflection/v1alpha/reflection.proto",
        ),
    ] {
        let mut compiler = protox::Compiler::new(["../proto"])?;
        compiler.include_source_info(false).include_imports(true);
        compiler.open_file(proto)?;
        let file = out.join(format!("{name}.bin"));
        std::fs::write(file, compiler.encode_file_descriptor_set())?;
    }
    let descriptors = protox::compile(protos, ["../proto"])?;
    tonic_prost_build::configure()
        .build_server(false)
        .compile_fds(descriptors)?;
    Ok(())
}
