package sqlstore

import (
	"context"

	"tandem/internal/store"
)

// anyNode is the node of the row by which a bound is locked: one that is always there
// while somebody holds a share, and that everybody who changes one writes.
const anyNode = ""

// Shares are those of a node.
func (r *Reader) Shares(ctx context.Context, node string) (map[string]store.Share, error) {
	shares := map[string]store.Share{}
	err := r.c.Query(ctx, `SELECT s.bound, s.held, (SELECT CAST(SUM(o.held) AS BIGINT) FROM share o WHERE o.bound = s.bound) - s.held
		FROM share s WHERE s.node = ?`, []any{node}, func(row Scanner) error {
		var bound string
		var s store.Share
		if err := row.Scan(&bound, &s.Held, &s.Others); err != nil {
			return err
		}
		shares[bound] = s
		return nil
	})
	return shares, err
}

// LockBound writes the row by which a bound is locked, then reads.
func (t *Tx) LockBound(ctx context.Context, bound, node string) (others int, err error) {
	_, err = t.exec(ctx, `INSERT INTO share (bound, node, held) VALUES (?, ?, 0) ON CONFLICT (bound, node) DO UPDATE SET held = 0`, bound, anyNode)
	if err != nil {
		return 0, err
	}
	err = t.row(ctx, `SELECT CAST(COALESCE(SUM(held), 0) AS BIGINT) FROM share WHERE bound = ? AND node <> ?`, []any{bound, node}, &others)
	return others, err
}

// SetShare writes the node's row, or removes it, and with the last one that of the bound.
func (t *Tx) SetShare(ctx context.Context, bound, node string, held int) error {
	if held > 0 {
		_, err := t.exec(ctx, `INSERT INTO share (bound, node, held) VALUES (?, ?, ?) ON CONFLICT (bound, node) DO UPDATE SET held = excluded.held`,
			bound, node, held)
		return err
	}
	if _, err := t.exec(ctx, `DELETE FROM share WHERE bound = ? AND node = ?`, bound, node); err != nil {
		return err
	}
	_, err := t.exec(ctx, `DELETE FROM share WHERE bound = ? AND node = ? AND NOT EXISTS (SELECT 1 FROM share o WHERE o.bound = ? AND o.node <> ?)`,
		bound, anyNode, bound, anyNode)
	return err
}

// dropShares makes a node hold nothing. What locks its bounds is left to whoever
// changes them next, and to ForgetNodes.
func (t *Tx) dropShares(ctx context.Context, node string) error {
	_, err := t.exec(ctx, `DELETE FROM share WHERE node = ?`, node)
	return err
}

// dropBounds removes what locks bounds of which nobody holds any more. One that is made
// anew meanwhile stays, or is made once more.
func (t *Tx) dropBounds(ctx context.Context) error {
	_, err := t.exec(ctx, `DELETE FROM share WHERE node = ? AND NOT EXISTS (SELECT 1 FROM share o WHERE o.bound = share.bound AND o.node <> ?)`,
		anyNode, anyNode)
	return err
}
