//! A background task that ends with its owner.

use std::future::Future;

use tokio::task::JoinHandle;

/// A running task; dropping it ends the task at its next await.
#[derive(Debug)]
pub struct Task(JoinHandle<()>);

impl Task {
    /// Starts `work` on the runtime this is called from.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime.
    #[must_use]
    pub fn start(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(work))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}
