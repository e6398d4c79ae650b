//! 05 · The application's own table shares the transaction of the message about it. One new word: *write*.
//!
//! `cargo run --example 05_orders [SITE]`. An order is a row, and packing it is a message: both are there, or neither. A
//! handler writes the row; when it fails, what was to be sent with it is not.

use worksite::model::NamedWrite;
use worksite::prelude::*;
use worksite::store::rusqlite::Connection;

const PACKER: i64 = 2;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (_folder, path) = site_file()?;
    worksite::block_on(async {
        let options = SqliteOptions::default()
            .write_handler("tables", |transaction, _| {
                transaction.execute_batch(
                    "CREATE TABLE IF NOT EXISTS orders (number INTEGER PRIMARY KEY, what TEXT CHECK (what <> ''))",
                )
            })
            .write_handler("order", |transaction, what| {
                let what = String::from_utf8_lossy(what);
                transaction.execute("INSERT INTO orders (what) VALUES (?1)", [what]).map(drop)
            });
        let site = Worksite::builder().routine(Shop).store(options).manual(|person| person.name == "packer");
        let site = site.open(&path).await?;
        site.sync([Person::new(1, "shop"), Person::new(PACKER, "packer")]).await?;
        site.transact(vec![write("tables", "")], vec![]).await?;

        println!("from outside:");
        for what in ["a lamp", ""] {
            match site.transact(vec![write("order", what)], vec![pack(what)?]).await {
                Ok(receipts) => println!("  {what:?} is ordered, {} message is sent", receipts.len()),
                Err(error) if error.to_string().contains("CHECK") => {
                    println!("  {what:?} is not: {error}")
                }
                Err(error) => Err(error)?,
            }
        }
        println!("from a routine:");
        for what in ["a chair", ""] {
            match site.ask::<String>(Draft::to(1, &what.to_string())?).await {
                Ok(answer) => println!("  {answer}"),
                Err(error) => println!("  {what:?} is not: {error}"),
            }
        }
        println!("the shop counts {:?} orders", site.state::<u64>(1, Shop::NAME).await?);
        for mail in site.peek(PACKER, 10).await? {
            println!("the packer has: {}", mail.envelope.draft.payload.decode::<String>()?);
        }
        site.shutdown().await;
        Ok::<_, Box<dyn std::error::Error>>(())
    })?;
    let table = Connection::open(path)?;
    let orders = "SELECT group_concat(number || ': ' || what, ', ' ORDER BY number) FROM orders";
    println!("the table has: {}", table.query_row(orders, [], |row| row.get::<_, String>(0))?);
    Ok(())
}

/// Takes orders, and counts them.
struct Shop;

impl Routine for Shop {
    const NAME: &'static str = "shop";
    type State = u64;
    type Message = String;

    fn perform(&self, turn: &mut Turn<u64>, what: String) -> Ended {
        *turn.state += 1;
        turn.write("order", what.as_bytes());
        turn.send(pack(&what)?);
        turn.reply(&format!("{what:?} is ordered"))?;
        Ok(Outcome::Done)
    }

    fn retry(&self) -> RetryPolicy {
        RetryPolicy::never()
    }
}

fn pack(what: &str) -> Result<Draft, worksite::model::PayloadError> {
    Draft::to(PACKER, &format!("pack {what}"))
}

fn write(name: &'static str, bytes: &str) -> NamedWrite {
    NamedWrite { name: name.into(), bytes: bytes.into() }
}

// Scaffolding from here on.

/// The given site, or one in a temporary folder, which goes with the first value.
fn site_file() -> std::io::Result<(tempfile::TempDir, std::path::PathBuf)> {
    let folder = tempfile::tempdir()?;
    let path = std::env::args().nth(1).map_or_else(|| folder.path().join("site.db"), Into::into);
    Ok((folder, path))
}
