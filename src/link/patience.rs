//! Waiting for an answer on the runtime of its connection, and telling a Redis
//! that is silent from a thread that was too busy to listen.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use futures_util::FutureExt;

/// Looks at the socket after the deadline. The first lets the connection read
/// what has arrived, the second lets it send what waited for it.
const LATE_LOOKS: usize = 3;

/// The answer, if it arrives within `budget`. A thread that was busy when the
/// deadline passed looks once more at what has arrived before it gives up.
pub async fn answered_within<T>(budget: Duration, answer: impl Future<Output = T>) -> Option<T> {
    let mut answer = pin!(answer);
    if let Ok(answer) = tokio::time::timeout(budget, answer.as_mut()).await {
        return Some(answer);
    }
    for _ in 0..LATE_LOOKS {
        // The runtime looks at its sockets before this goes on.
        tokio::task::yield_now().await;
        if let Some(answer) = answer.as_mut().now_or_never() {
            return Some(answer);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;

    use super::*;

    const BUDGET: Duration = Duration::from_millis(1);

    #[tokio::test]
    async fn an_answer_that_has_arrived_counts_however_late_it_is_looked_at() {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        let (tell, told) = tokio::sync::oneshot::channel();
        // Like a connection: a task of its own reads the socket.
        tokio::spawn(async move {
            let byte = ours.read_u8().await;
            let _nobody_waits = tell.send(byte);
        });
        let busy = async {
            tokio::task::yield_now().await;
            theirs.write_u8(7).await.unwrap();
            let began = Instant::now();
            while began.elapsed() < BUDGET * 4 {
                std::hint::spin_loop();
            }
        };
        let (answer, ()) = tokio::join!(answered_within(BUDGET, told), busy);
        assert_eq!(answer.unwrap().unwrap().unwrap(), 7);
    }

    #[tokio::test]
    async fn silence_is_silence() {
        let never = std::future::pending::<()>();
        assert!(answered_within(BUDGET, never).await.is_none());
    }
}
