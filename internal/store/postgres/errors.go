package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"tandem/internal/store/sqlstore"
)

// ErrClosed says that the store has been closed.
var ErrClosed = errors.New("postgres: the store is closed")

// Codes of SQLSTATE (PostgreSQL's manual, appendix A).
const (
	uniqueViolation      = "23505"
	foreignKeyViolation  = "23503"
	serializationFailure = "40001"
	deadlockDetected     = "40P01"
	lockNotAvailable     = "55P03" // in lock_timeout
	featureNotSupported  = "0A000" // "cached plan must not change result type", after a migration
	adminShutdown        = "57P01"
	crashShutdown        = "57P02"
	cannotConnectNow     = "57P03"

	invalidPassword       = "28P01"
	invalidAuthorization  = "28000"
	invalidCatalogName    = "3D000"
	tooManyConnections    = "53300"
	insufficientPrivilege = "42501"
)

// serverError is what PostgreSQL has said, without its message: that may repeat a
// value, which may be a telephone number.
type serverError struct {
	code  string
	where string // table and constraint, if it named them
	key   error  // sqlstore.ErrDuplicate or ErrOrphan, else nil
}

func (e *serverError) Error() string {
	if e.where == "" {
		return "postgres: SQLSTATE " + e.code
	}
	return "postgres: SQLSTATE " + e.code + " (" + e.where + ")"
}

func (e *serverError) Unwrap() error { return e.key }

// remedy says what an operator does about what PostgreSQL refuses as a database is
// opened; else it makes the error plain.
func remedy(err error, c *pgx.ConnConfig) error {
	var said *pgconn.PgError
	if !errors.As(err, &said) {
		return plain(err)
	}
	what := ""
	switch said.Code {
	case invalidPassword, invalidAuthorization:
		what = fmt.Sprintf("user %q is refused: is the password right, and does pg_hba.conf let this machine in?", c.User)
	case invalidCatalogName:
		what = fmt.Sprintf("there is no database %q: make it (docs/operations.md)", c.Database)
	case tooManyConnections:
		what = "the server has no connection left: raise max_connections, or lower pool_max_conns"
	case insufficientPrivilege:
		what = fmt.Sprintf("user %q may not make tables in %q: let him own the database", c.User, c.Database)
	default:
		return plain(err)
	}
	return fmt.Errorf("postgres: %s (SQLSTATE %s)", what, said.Code)
}

// again tells that the transaction may succeed when it is run anew.
func (e *serverError) again() bool {
	switch e.code {
	case serializationFailure, deadlockDetected, featureNotSupported:
		return true
	}
	return e.away()
}

// away tells that the server is going, or not there yet: the connection is of no use.
func (e *serverError) away() bool {
	return e.code == adminShutdown || e.code == crashShutdown || e.code == cannotConnectNow
}

// clientError is what pgx refused before it was sent: a value that does not go into its
// place, say. Another try meets it again.
type clientError struct{ kind string }

func (e clientError) Error() string { return "postgres: the client failed (" + e.kind + ")" }

// plain makes an error of pgx one that may be logged. What pgx says of a value repeats
// it; what it says of the network, of a context and of connecting does not.
func plain(err error) error {
	var said *pgconn.PgError
	if !errors.As(err, &said) {
		var (
			scan    pgx.ScanArgError
			network net.Error
			connect *pgconn.ConnectError
		)
		switch {
		case errors.As(err, &scan):
			return fmt.Errorf("postgres: column %d of an answer is not what was expected", scan.ColumnIndex)
		case errors.As(err, &network), errors.As(err, &connect), errors.Is(err, context.Canceled), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return fmt.Errorf("postgres: %w", err)
		}
		return clientError{fmt.Sprintf("%T", err)}
	}
	e := &serverError{code: said.Code}
	switch {
	case said.ConstraintName != "":
		e.where = said.TableName + ", " + said.ConstraintName
	case said.Code[:2] == "42": // of a statement: it names what the schema has
		e.where = said.Message
	}
	switch said.Code {
	case uniqueViolation:
		e.key = sqlstore.ErrDuplicate
	case foreignKeyViolation:
		e.key = sqlstore.ErrOrphan
	}
	return e
}
