package postgres

import (
	"context"

	"tandem/internal/store/sqlstore"
)

// The catalogue, as sqlstore.ReadShapes wants it: by the standard's views, which other
// servers of this protocol have too.
const (
	allColumns = `SELECT CAST(c.table_name AS TEXT), CAST(c.column_name AS TEXT) FROM information_schema.columns c
		JOIN information_schema.tables t ON t.table_schema = c.table_schema AND t.table_name = c.table_name
		WHERE c.table_schema = current_schema() AND t.table_type = 'BASE TABLE'`
	allKeys = `SELECT CAST(k.table_name AS TEXT), CAST(k.column_name AS TEXT) FROM information_schema.key_column_usage k
		JOIN information_schema.table_constraints t ON t.constraint_schema = k.constraint_schema AND t.constraint_name = k.constraint_name AND t.table_name = k.table_name
		WHERE k.table_schema = current_schema() AND t.constraint_type = 'PRIMARY KEY' ORDER BY k.table_name, k.ordinal_position`
	allRefers = `SELECT DISTINCT CAST(t.table_name AS TEXT), CAST(u.table_name AS TEXT) FROM information_schema.table_constraints t
		JOIN information_schema.constraint_column_usage u ON u.constraint_schema = t.constraint_schema AND u.constraint_name = t.constraint_name
		WHERE t.table_schema = current_schema() AND t.constraint_type = 'FOREIGN KEY'`
)

// Shapes reads the schema.
func (t *transaction) Shapes(ctx context.Context) (map[string]*sqlstore.Shape, error) {
	return sqlstore.ReadShapes(ctx, t, allColumns, allKeys, allRefers)
}

// Sound has nothing to do: the server checks its pages itself (data_checksums).
func (t *transaction) Sound(context.Context) error { return nil }
