/* The journal's file: opened, looked at, set aside. */
#include "harness/measure/journal_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "harness/base/error.h"
#include "harness/base/file.h"
#include "harness/base/progress.h"

#define SCHEMA_VERSION 1
#define BUSY_MS 30000
#define LOCK_SECONDS 3

enum verdict {
    USABLE,
    DAMAGED,    /* to be set aside */
    IMPOSSIBLE, /* cannot be opened at all, or is busy */
};

static enum verdict verdict_of(int rc, const char *path)
{
    switch (rc & 0xff) {
    case SQLITE_READONLY: /* also where the header asks for a format newer than SQLite knows */
        return access(path, W_OK) == 0 ? DAMAGED : IMPOSSIBLE;
    case SQLITE_OK:
    case SQLITE_DONE:
    case SQLITE_ROW:
        return USABLE;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_ERROR: /* the schema does not parse, a table is missing */
    case SQLITE_FORMAT:
    case SQLITE_MISMATCH:
    case SQLITE_CONSTRAINT:
        return DAMAGED;
    }
    return IMPOSSIBLE;
}

/* Runs one statement; its first column of the first row, as text, goes to out ("" without one). */
static int query(sqlite3 *db, const char *sql, char *out, size_t nbytes)
{
    sqlite3_stmt *stmt;
    int rc = sqlite3_prepare_v2(db, sql, -1, &stmt, NULL);

    out[0] = 0;
    if (rc == SQLITE_OK) {
        rc = sqlite3_step(stmt);
        if (rc == SQLITE_ROW && sqlite3_column_text(stmt, 0))
            snprintf(out, nbytes, "%s", (const char *)sqlite3_column_text(stmt, 0));
        sqlite3_finalize(stmt);
    }
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : rc;
}

#define TABLE                                                                                      \
    "CREATE TABLE results (cell TEXT NOT NULL, item TEXT NOT NULL, payload BLOB NOT NULL,"         \
    " checksum TEXT NOT NULL, PRIMARY KEY (cell, item)) WITHOUT ROWID"

/* The first process makes the table; the version is written in the same transaction. */
static int make_schema(sqlite3 *db)
{
    char sql[512];

    snprintf(sql, sizeof(sql), TABLE ";PRAGMA user_version = %d;", SCHEMA_VERSION);
    return sqlite3_exec(db, sql, NULL, NULL, NULL);
}

/* Version, schema and integrity, the schema first: views, triggers and constraints are programs of
 * whoever made the file, which reading, writing and checking would run. Inside a write transaction
 * so that two processes do not both create. */
static int check_content(sqlite3 *db, const char **why)
{
    static const char others[] = "SELECT count(*) FROM sqlite_schema WHERE sql IS NOT '" TABLE "'";
    char version[32], n_tables[32], n_others[32], integrity[256] = "";
    int rc = query(db, "PRAGMA user_version", version, sizeof(version));

    *why = "it is damaged";
    if (rc == SQLITE_OK)
        rc = query(db, "SELECT count(*) FROM sqlite_schema", n_tables, sizeof(n_tables));
    if (rc != SQLITE_OK)
        return rc;
    if (atoi(version) == 0 && atoi(n_tables) == 0)
        return make_schema(db);
    rc = query(db, others, n_others, sizeof(n_others));
    if (rc == SQLITE_OK &&
        (atoi(version) != SCHEMA_VERSION || atoi(n_tables) != 1 || atoi(n_others) != 0)) {
        *why = "it is no journal of this version";
        return SQLITE_FORMAT;
    }
    if (rc == SQLITE_OK)
        rc = query(db, "PRAGMA integrity_check(1)", integrity, sizeof(integrity));
    return rc == SQLITE_OK && strcmp(integrity, "ok") != 0 ? SQLITE_CORRUPT : rc;
}

static int set_up(struct journal_file *f, const char **why)
{
    static const char put[] = "INSERT OR REPLACE INTO results VALUES (?1, ?2, ?3, ?4)";
    static const char get[] = "SELECT payload, checksum FROM results WHERE cell = ?1 AND item = ?2";
    char text[64];
    int on = 1, rc;

    *why = "it is damaged";
    sqlite3_busy_timeout(f->db, BUSY_MS);
    /* The WAL file stays when the last user closes: SQLite would delete it by name, and the name
     * may by then belong to the journal that took the place of one set aside. */
    sqlite3_file_control(f->db, "main", SQLITE_FCNTL_PERSIST_WAL, &on);
    rc = query(f->db, "PRAGMA journal_mode = WAL", text, sizeof(text));
    if (rc == SQLITE_OK)
        rc = query(f->db, "PRAGMA synchronous = NORMAL", text, sizeof(text));
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(f->db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        rc = check_content(f->db, why);
    if (rc == SQLITE_OK && sqlite3_db_readonly(f->db, "main"))
        rc = SQLITE_READONLY;
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(f->db, "COMMIT", NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_prepare_v2(f->db, put, -1, &f->put, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_prepare_v2(f->db, get, -1, &f->get, NULL);
    return rc;
}

static void close_db(struct journal_file *f)
{
    sqlite3_finalize(f->get);
    sqlite3_finalize(f->put);
    sqlite3_close(f->db);
    f->get = f->put = NULL;
    f->db = NULL;
}

/* SQLite says "malformed" also where the disk fails to read; such a file must not be set aside. */
static int is_readable(const char *path)
{
    char block[1 << 14];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = -1;

    while (fd >= 0 && (n = read(fd, block, sizeof(block))) > 0)
        ;
    if (fd < 0 || n < 0)
        error("cannot read journal '%s': %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return fd >= 0 && n == 0;
}

/* SQLite's text for a file that cannot be opened leaves out the system's reason, and its number is
 * of the last of several tries. */
static void say_impossible(const struct journal_file *f, int rc)
{
    char *folder = path_folder(f->path);
    const char *because = "";

    if ((rc & 0xff) == SQLITE_CANTOPEN && dir_exists(f->path))
        because = strerror(EISDIR);
    else if ((rc & 0xff) == SQLITE_CANTOPEN &&
             access(file_exists(f->path) ? f->path : folder, R_OK | W_OK) != 0)
        because = strerror(errno);
    else if ((rc & 0xff) == SQLITE_CANTOPEN && f->db && sqlite3_system_errno(f->db))
        because = strerror(sqlite3_system_errno(f->db));
    error("cannot open journal '%s': %s%s%s", f->path, f->db ? sqlite3_errmsg(f->db) : "no memory",
          *because ? ": " : "", because);
    free(folder);
}

/* A file that somebody needs under its name: a text, or a healthy database of another program. A
 * journal's first block has zeros, whatever has happened to it. Reading alone; 1 after error(). */
static int is_anothers(const struct journal_file *f)
{
    static const char ours[] = "SELECT count(*) FROM sqlite_schema WHERE name = 'results' OR "
                               "tbl_name = 'results' OR sql LIKE '%payload%checksum%'";
    char block[512], n_tables[32], n_ours[32];
    int fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t n = fd >= 0 ? read(fd, block, sizeof(block)) : 0;

    if (fd >= 0)
        close(fd);
    if (n > 0 && !memchr(block, 0, (size_t)n)) {
        error("'%s' is a text, not a journal: name another file to --resume", f->path);
        return 1;
    }
    if (query(f->db, "SELECT count(*) FROM sqlite_schema", n_tables, sizeof(n_tables)) ||
        query(f->db, ours, n_ours, sizeof(n_ours)) || atoi(n_tables) == 0 || atoi(n_ours) > 0)
        return 0;
    error("'%s' is a database of another program: name another file to --resume", f->path);
    return 1;
}

static enum verdict try_open(struct journal_file *f, const char **why)
{
    int rc = sqlite3_open_v2(f->path, &f->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL);
    enum verdict v;

    if (rc == SQLITE_OK && is_anothers(f)) {
        close_db(f);
        return IMPOSSIBLE;
    }
    if (rc == SQLITE_OK)
        rc = set_up(f, why);
    v = verdict_of(rc, f->path);
    if (v == IMPOSSIBLE)
        say_impossible(f, rc);
    if (v != USABLE)
        close_db(f);
    if (v == DAMAGED && !is_readable(f->path))
        v = IMPOSSIBLE;
    return v;
}

/* PATH -> PATH.corrupt-TIME with its WAL; a number is added where that name is taken. */
static int set_aside(const char *path, const char *why)
{
    struct buf to = {0}, from_wal = {0}, to_wal = {0};
    char stamp[32];
    time_t now = time(NULL);
    struct tm tm;
    int rc = 0;

    strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%S", gmtime_r(&now, &tm));
    buf_addf(&to, "%s.corrupt-%s", path, stamp);
    for (int i = 2; access(to.data, F_OK) == 0; i++) {
        to.n = 0;
        buf_addf(&to, "%s.corrupt-%s-%d", path, stamp, i);
    }
    buf_addf(&to_wal, "%s-wal", to.data);
    buf_addf(&from_wal, "%s-wal", path);
    if (rename(path, to.data) != 0)
        rc = error("cannot set journal '%s' aside: %s", path, strerror(errno));
    else
        warning("journal '%s' is not used: %s. It is now '%s'; a fresh one is begun", path, why,
                to.data);
    if (rc == 0) {
        /* a WAL left behind could be taken for the fresh file's */
        rename(from_wal.data, to_wal.data);
        memcpy(from_wal.data + from_wal.n - 4, "-shm", 4);
        unlink(from_wal.data);
    }
    buf_release(&to);
    buf_release(&from_wal);
    buf_release(&to_wal);
    return rc;
}

/* One process at a time opens a journal of this folder, which takes milliseconds, so that two do
 * not set aside each other's fresh file. -1 where there is no lock to be had: the folder cannot be
 * locked, or somebody else has locked it for longer (flock DIR duo ...). */
static int lock_folder(const char *path)
{
    char *dir = path_folder(path);
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), got = -1;
    double end = now_seconds() + LOCK_SECONDS;

    free(dir);
    while (fd >= 0 && (got = flock(fd, LOCK_EX | LOCK_NB)) != 0 &&
           (errno == EWOULDBLOCK || errno == EINTR) && now_seconds() < end)
        usleep(20000);
    if (fd >= 0 && got != 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

int journal_file_open(struct journal_file *f, const char *path)
{
    const char *why = "";
    enum verdict v;
    struct stat st;
    int lock;

    *f = (struct journal_file){0};
    if (!*path || *path == ':') /* SQLite's own: a file without a name, memory */
        return error("'%s' is no journal's name: nothing would be kept", path);
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
        return error("cannot open journal '%s': it is no regular file", path);
    lock = lock_folder(path);
    f->path = xstrdup(path);
    v = try_open(f, &why);
    if (v == DAMAGED && lock < 0) {
        v = IMPOSSIBLE;
        error("journal '%s' cannot be used: %s; it is not set aside while another program has its "
              "folder locked",
              path, why);
    } else if (v == DAMAGED) {
        v = set_aside(path, why) == 0 ? try_open(f, &why) : IMPOSSIBLE;
    }
    if (v == DAMAGED)
        error("cannot begin a fresh journal '%s'", path);
    if (lock >= 0)
        close(lock);
    if (v == USABLE)
        return 0;
    journal_file_close(f);
    return -1;
}

void journal_file_close(struct journal_file *f)
{
    close_db(f);
    free(f->path);
    f->path = NULL;
}
