//! The first plugin: `helloworld.Greeter`, whose `SayHello` answers `Hello NAME`.
//!
//! This file, `build.rs` and the `.proto` are all there is to a typed plugin:
//!
//! ```text
//! cargo build --profile guest --target wasm32-wasip2 -p greeter
//! switchboard serve target/wasm32-wasip2/guest/greeter.wasm
//! ```

/// Messages and service of `proto/helloworld/helloworld.proto`.
pub mod helloworld {
    switchboard_guest::include_proto!("helloworld");
}

use helloworld::greeter_server::{Greeter, GreeterServer};
use helloworld::{HelloReply, HelloRequest};
use switchboard_guest::{Request, Response, Status};

/// Greets whoever calls.
#[derive(Debug)]
pub struct MyGreeter;

impl Greeter for MyGreeter {
    fn say_hello(&self, request: Request<HelloRequest>) -> Result<Response<HelloReply>, Status> {
        let message = format!("Hello {}", request.into_inner().name);
        Ok(Response::new(HelloReply { message }))
    }
}

switchboard_guest::export!(GreeterServer::new(MyGreeter));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greets_by_name() {
        let request = switchboard_guest::testing::request(HelloRequest {
            name: "Ada".to_owned(),
        });
        let reply = MyGreeter.say_hello(request).expect("a greeting");
        assert_eq!(reply.get_ref().message, "Hello Ada");
    }
}
