//! What delivery relies on in an Odoo 19, tried against every Odoo within reach over both protocols.
//!
//! Without further ado that is a simulator in this process. With `PG_ETL_ODOO_URL`, `PG_ETL_ODOO_DB`,
//! `PG_ETL_ODOO_LOGIN` and `PG_ETL_ODOO_KEY` (and `PG_ETL_ODOO_PASSWORD` where the key is no password) it is a real one
//! too, so that the simulator cannot lie: where they differ, the simulator is wrong. The real one needs `contacts` and
//! `sale_management`; the suite creates records there and deletes them again.

mod cells;
mod client;
mod create_once;
mod doors;
mod lines;
mod lookup;
mod messages;
mod records;
mod rights;
mod sales;
mod target;
mod wire;
mod world;
