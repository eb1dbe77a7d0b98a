package sqlstore

import (
	"context"
	"strings"
	"time"

	"tandem/internal/masking"
)

const nodeColumns = `id, started_at, seen_at, gone_at, version, addresses, folder, calls, draining`

// Nodes reads the table, which has as many rows as there are servers.
func (r *Reader) Nodes(ctx context.Context) ([]masking.Node, error) {
	return list(ctx, r, `SELECT `+nodeColumns+` FROM node ORDER BY id`, nil, func(_ *Reader, row Scanner) (n masking.Node, err error) {
		var addresses string
		err = row.Scan(&n.ID, timeCol{&n.StartedAt}, timeCol{&n.SeenAt}, timeCol{&n.GoneAt}, &n.Version, &addresses, &n.Folder, &n.Calls, &n.Draining)
		n.Addresses = strings.Fields(addresses)
		return n, err
	})
}

// JoinNode writes a new row, or over the one that was found.
func (t *Tx) JoinNode(ctx context.Context, n, last masking.Node) (joined bool, err error) {
	rows, err := t.exec(ctx, `INSERT INTO node (`+nodeColumns+`) VALUES (`+marks(9)+`)
		ON CONFLICT (id) DO UPDATE SET started_at = excluded.started_at, seen_at = excluded.seen_at, gone_at = excluded.gone_at,
		version = excluded.version, addresses = excluded.addresses, folder = excluded.folder, calls = excluded.calls, draining = excluded.draining
		WHERE node.started_at = ? AND node.seen_at = ?`,
		n.ID, millis(n.StartedAt), millis(n.SeenAt), millis(n.GoneAt), n.Version, strings.Join(n.Addresses, " "), n.Folder, n.Calls, n.Draining,
		millis(last.StartedAt), millis(last.SeenAt))
	if err != nil || rows == 0 {
		return false, err
	}
	return true, t.dropShares(ctx, n.ID)
}

// BeatNode writes the sign of life of a run.
func (t *Tx) BeatNode(ctx context.Context, n masking.Node) (ours, back bool, err error) {
	beat := func(were string) (bool, error) {
		rows, err := t.exec(ctx, `UPDATE node SET seen_at = ?, gone_at = ?, version = ?, addresses = ?, calls = ?, draining = ?
			WHERE id = ? AND started_at = ? AND gone_at `+were, millis(n.SeenAt), millis(n.GoneAt), n.Version, strings.Join(n.Addresses, " "), n.Calls,
			n.Draining, n.ID, millis(n.StartedAt))
		return rows > 0, err
	}
	if ours, err = beat(`= 0`); err != nil || ours {
		return ours, false, err
	}
	back, err = beat(`<> 0`)
	return back, back, err
}

// HearNode writes when another node has heard this one.
func (t *Tx) HearNode(ctx context.Context, n masking.Node, at time.Time) (heard bool, err error) {
	rows, err := t.exec(ctx, `UPDATE node SET seen_at = ? WHERE id = ? AND started_at = ? AND seen_at = ? AND gone_at = 0`,
		millis(at), n.ID, millis(n.StartedAt), millis(n.SeenAt))
	return rows > 0, err
}

// LoseNode writes that a silent node is gone.
func (t *Tx) LoseNode(ctx context.Context, n masking.Node, at time.Time) (lost bool, err error) {
	rows, err := t.exec(ctx, `UPDATE node SET gone_at = CASE WHEN gone_at = 0 THEN ? ELSE gone_at END, calls = 0
		WHERE id = ? AND started_at = ? AND seen_at = ?`, millis(at), n.ID, millis(n.StartedAt), millis(n.SeenAt))
	if err != nil || rows == 0 {
		return false, err
	}
	return true, t.dropShares(ctx, n.ID)
}

// ForgetNodes removes nodes of long ago.
func (t *Tx) ForgetNodes(ctx context.Context, before time.Time, limit int) (int, error) {
	n, err := t.exec(ctx, `DELETE FROM node WHERE id IN (SELECT n.id FROM node n WHERE n.seen_at < ? AND n.id NOT IN
		(SELECT k.node FROM call k WHERE k.ended_at = 0) LIMIT ?)`, millis(before), most(limit))
	if err != nil {
		return 0, err
	}
	return int(n), t.dropBounds(ctx)
}
