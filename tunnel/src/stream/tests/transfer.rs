//! Both ends at once over in-memory connections of every capacity.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex, split};

use crate::stream::TunnelStream;
use crate::{Config, Role};

fn bytes(count: usize, step: usize) -> Vec<u8> {
    (0..count).map(|n| (n / step) as u8).collect()
}

/// Sends `up` and `down` at the same time, reader and writer being tasks of their own at each end.
async fn exchange(capacity: usize, up: Vec<u8>, down: Vec<u8>) -> io::Result<()> {
    let (near, far) = duplex(capacity);
    let config = Config::default();
    let client = TunnelStream::new(near, Role::Client, Default::default(), &config);
    let server = TunnelStream::new(far, Role::Server, Default::default(), &config);
    let (mut client_read, mut client_write) = split(client);
    let (mut server_read, mut server_write) = split(server);
    let mut got_down = vec![0; down.len()];
    let mut got_up = vec![0; up.len()];
    tokio::try_join!(
        async {
            client_write.write_all(&up).await?;
            client_write.flush().await
        },
        async {
            server_write.write_all(&down).await?;
            server_write.flush().await
        },
        async { client_read.read_exact(&mut got_down).await.map(|_| ()) },
        async { server_read.read_exact(&mut got_up).await.map(|_| ()) },
    )?;
    assert!(got_up == up && got_down == down);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn both_directions_flow_through_any_capacity() {
    for capacity in [1, 2, 3, 14, 100, 4096, 1 << 20] {
        let count = if capacity < 100 { 5000 } else { 1_000_000 };
        exchange(capacity, bytes(count, 3), bytes(count + 77, 5))
            .await
            .unwrap();
    }
}
