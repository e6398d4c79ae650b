//! The stores mean the same: one suite, passed by the one in memory and the one in a file.

use worksite_model::Store;
use worksite_simulation::conformance::CASES;
use worksite_simulation::{MemoryDisk, MemoryStore};
use worksite_store::{SqliteOptions, SqliteStore};

#[test]
fn the_memory_store_conforms() {
    for (name, case) in CASES {
        println!("{name}");
        let disk = MemoryDisk::default();
        case(&mut || Box::new(MemoryStore::open(&disk)));
    }
}

#[test]
fn the_sqlite_store_conforms() {
    for (name, case) in CASES {
        println!("{name}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("site.db");
        let open = || SqliteStore::open(&path, SqliteOptions::default()).map(|store| Box::new(store) as Box<dyn Store>);
        case(&mut || open().unwrap());
    }
}
