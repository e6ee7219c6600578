// A connection's SQL statements, each compiled once. SQLite's exceptions pass through. Not
// thread-safe, like the connection.
#pragma once

#include <SQLiteCpp/Database.h>
#include <SQLiteCpp/Statement.h>

#include <memory>
#include <string_view>
#include <unordered_map>

namespace quoin {

// A statement while it is in use; resets it at the end, so that it keeps no transaction open.
class StatementUse {
 public:
  explicit StatementUse(SQLite::Statement& statement) : statement_(statement) {}
  ~StatementUse() { (void)statement_.tryReset(); }  // repeats the error of the last step
  StatementUse(const StatementUse&) = delete;
  StatementUse& operator=(const StatementUse&) = delete;
  SQLite::Statement* operator->() { return &statement_; }
  SQLite::Statement& operator*() { return statement_; }

 private:
  SQLite::Statement& statement_;
};

// Must end before its Database.
class PreparedStatements {
 public:
  explicit PreparedStatements(SQLite::Database& database) : database_(database) {}

  // `sql` must be a literal.
  StatementUse Prepare(const char* sql) {
    std::unique_ptr<SQLite::Statement>& statement = by_sql_[sql];
    if (!statement) statement = std::make_unique<SQLite::Statement>(database_, sql);
    return StatementUse(*statement);
  }

 private:
  SQLite::Database& database_;
  std::unordered_map<std::string_view, std::unique_ptr<SQLite::Statement>> by_sql_;
};

}  // namespace quoin
