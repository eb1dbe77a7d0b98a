package store

import "context"

// A Table is one of the database's, as every engine has it: without what an engine
// keeps for itself.
type Table struct {
	Name    string
	Columns []string // by name
	Key     []string // what rows are told apart and ordered by, the same in every engine
}

// A Row has a value for each column of a table: int64, string or []byte.
type Row []any

// A Fact is known of the database as a whole.
type Fact string

// The facts.
const (
	// FactOldest is the least schema version that a program must know to use the
	// database; none: every program may that knows of facts.
	FactOldest Fact = "oldest_program"
	// FactState says that the database is not one to serve from (see package transfer).
	FactState Fact = "state"
	// FactFilled tells what a copy has put into the database from what was there before.
	FactFilled Fact = "filled"
	// FactMasterKey tells the master key of the database's nodes from others.
	FactMasterKey Fact = "master_key"
)

// TransferReader reads whole tables, whatever they are about, to copy a database.
type TransferReader interface {
	// Fact is what is known, "" if nothing is.
	Fact(ctx context.Context, name Fact) (string, error)
	// SchemaVersion is the number of the last migration.
	SchemaVersion(ctx context.Context) (int64, error)
	// Tables are all tables that have something to copy, none before one that it
	// refers to.
	Tables(ctx context.Context) ([]Table, error)
	CountRows(ctx context.Context, t Table) (int64, error)
	// Rows are at most limit rows in the order of the key, behind the given one; from
	// the first with nil. Events that have just been written and have no place yet are
	// there in the places behind the last.
	Rows(ctx context.Context, t Table, after []any, limit int) ([]Row, error)
	// LastKey is the key of the last row, nil if there is none.
	LastKey(ctx context.Context, t Table) ([]any, error)
	// EventHead is the last place in the order of events, though its event may be gone.
	EventHead(ctx context.Context) (int64, error)
	// Sound looks through the whole database for damage, as far as the engine can.
	Sound(ctx context.Context) error
}

// TransferWriter writes whole tables.
type TransferWriter interface {
	// SetFact writes what is known; "" forgets it.
	SetFact(ctx context.Context, name Fact, value string) error
	// FirstFact writes what is known unless something is, and gives what is known then:
	// of several who do it at once all get the same.
	FirstFact(ctx context.Context, name Fact, value string) (known string, err error)
	// PutRows writes rows that are not there yet.
	PutRows(ctx context.Context, t Table, rows []Row) error
	// RemoveRows removes at most limit rows, and gives how many.
	RemoveRows(ctx context.Context, t Table, limit int) (int, error)
	// SetEventHead makes the next event the one after cursor.
	SetEventHead(ctx context.Context, cursor int64) error
}
