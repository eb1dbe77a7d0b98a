package sqlstore

import (
	"context"

	"tandem/internal/masking"
	"tandem/internal/store"
)

// AuditHead reads which entry is the last.
func (r *Reader) AuditHead(ctx context.Context) (h masking.AuditHead, err error) {
	return h, r.row(ctx, `SELECT sequence, hash FROM audit_head WHERE id = 1`, nil, &h.Sequence, hashCol{&h.Hash})
}

// AppendAudit writes the entry after the last one.
func (t *Tx) AppendAudit(ctx context.Context, e masking.AuditEntry) error {
	t.c.Lock(ForUpdate, `audit_head WHERE id = 1`)
	head, err := t.AuditHead(ctx)
	if err != nil {
		return err
	}
	e = e.Following(head)
	_, err = t.exec(ctx, `INSERT INTO audit (sequence, at, actor, tenant, action, object, outcome, request, previous, hash)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, e.Sequence, millis(e.At), e.Actor, e.Tenant, e.Action, e.Object, e.Outcome, e.Request,
		e.Previous[:], e.Hash[:])
	if err != nil {
		return inserted("an audit entry", err)
	}
	return exactlyOne(t.exec(ctx, `UPDATE audit_head SET sequence = ?, hash = ? WHERE id = 1`, e.Sequence, e.Hash[:]))
}

// Audit are a page of the log.
func (r *Reader) Audit(ctx context.Context, f store.AuditFilter) ([]masking.AuditEntry, error) {
	text, args := `SELECT sequence, at, actor, tenant, action, object, outcome, request, previous, hash FROM audit WHERE 1 = 1`, []any(nil)
	and := func(condition string, values ...any) { text, args = text+` AND `+condition, append(args, values...) }
	if f.Tenant != "" {
		and(`tenant = ?`, f.Tenant)
	}
	if f.Action != "" {
		and(`action = ?`, f.Action)
	}
	if !f.Since.IsZero() {
		and(`at >= ?`, millis(f.Since))
	}
	if !f.Until.IsZero() {
		and(`at < ?`, millis(f.Until))
	}
	order := ` ORDER BY sequence DESC LIMIT ?`
	switch {
	case f.Oldest:
		and(`sequence > ?`, f.After)
		order = ` ORDER BY sequence LIMIT ?`
	case f.After != 0:
		and(`sequence < ?`, f.After)
	}
	return list(ctx, r, text+order, append(args, most(f.Limit)), scanAudit)
}

func scanAudit(_ *Reader, row Scanner) (e masking.AuditEntry, err error) {
	return e, row.Scan(&e.Sequence, timeCol{&e.At}, &e.Actor, &e.Tenant, &e.Action, &e.Object, &e.Outcome, &e.Request,
		hashCol{&e.Previous}, hashCol{&e.Hash})
}
