//! Databases and caches: PostgreSQL, MariaDB, Redis, memcached.
//!
//! Source: initdb(1), postgres(1), mariadb-install-db(1), mariadbd(8), redis.conf, memcached(1).

use super::{Ready, Server, Site, installed};
use crate::Namespace;

/// PostgreSQL on TCP 5432, with TLS: `postgres` needs no password, everybody else does.
///
/// # Panics
/// Where it is not installed or does not start.
#[track_caller]
pub fn postgresql(namespace: &Namespace) -> Server {
    let site = Site::new("postgresql");
    site.certificate(namespace);
    site.folder("data");
    // It refuses to run as root, and to read a key that others may read.
    let mut give = site.command(namespace, &installed("chown", "coreutils"));
    give.args(["postgres", "data", "key.pem", "cert.pem"]);
    site.prepare(give);
    let as_postgres = |program: &str| {
        let mut command = site.command(namespace, &installed("setpriv", "util-linux"));
        command.args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups"]);
        command.arg(format!("/usr/lib/postgresql/15/bin/{program}")).args(["-D", "data"]);
        command
    };
    let mut make = as_postgres("initdb");
    make.args(["-A", "trust", "-N"]);
    site.prepare(make);
    site.write("data/pg_hba.conf", "host all postgres all trust\nhost all all all scram-sha-256\n");
    let mut command = as_postgres("postgres");
    for setting in
        ["ssl=on", "ssl_cert_file={}/cert.pem", "ssl_key_file={}/key.pem", "unix_socket_directories="]
    {
        command.arg("-c").arg(setting.replace("{}", &site.folder.display().to_string()));
    }
    site.start(namespace, command, &Ready::Listens(5432))
}

/// MariaDB on TCP 3306; root needs no password.
///
/// # Panics
/// Where it is not installed or does not start.
#[track_caller]
pub fn mariadb(namespace: &Namespace) -> Server {
    let site = Site::new("mariadb");
    let data = format!("--datadir={}", site.folder("data").display());
    let mut make = site.command(namespace, &installed("mariadb-install-db", "mariadb-server"));
    make.args(["--no-defaults", "--user=root", "--auth-root-authentication-method=normal", "--skip-test-db"]);
    make.arg(&data);
    site.prepare(make);
    let mut command = site.command(namespace, &installed("mariadbd", "mariadb-server"));
    command.args(["--no-defaults", "--user=root", "--innodb-buffer-pool-size=8M"]).arg(&data);
    command.arg(format!("--socket={}", site.path("socket").display()));
    site.start(namespace, command, &Ready::Listens(3306))
}

/// Redis on TCP 6379.
///
/// # Panics
/// Where it is not installed or does not start.
#[track_caller]
pub fn redis(namespace: &Namespace) -> Server {
    let site = Site::new("redis");
    let mut command = site.command(namespace, &installed("redis-server", "redis-server"));
    command.args(["--protected-mode", "no", "--save", ""]);
    site.start(namespace, command, &Ready::Listens(6379))
}

/// memcached on TCP and UDP 11211.
///
/// # Panics
/// Where it is not installed or does not start.
#[track_caller]
pub fn memcached(namespace: &Namespace) -> Server {
    let site = Site::new("memcached");
    let mut command = site.command(namespace, &installed("memcached", "memcached"));
    command.args(["-u", "root", "-U", "11211"]);
    site.start(namespace, command, &Ready::Receives(11211))
}
