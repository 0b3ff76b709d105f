//! Asks for one target so many times on one connection, one after the other:
//! `repeat ADDRESS TIMES TARGET`. The same every time, for counting
//! instructions.

use floor::{Asker, address};

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(2).collect();
    let times: u64 = arguments[0].parse().expect("a number");
    let mut asker = Asker::connect(address()).await?;
    for _ in 0..times {
        assert!(asker.ask(&arguments[1]).await?, "an answer that is not 200");
    }
    Ok(())
}
