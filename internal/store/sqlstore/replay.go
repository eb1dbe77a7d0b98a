package sqlstore

import (
	"context"
	"time"

	"tandem/internal/masking"
	"tandem/internal/store"
)

// Replay reads the answer kept under the key since notBefore.
func (t *Tx) Replay(ctx context.Context, tenant masking.TenantID, key string, notBefore time.Time) (r store.Replay, err error) {
	err = t.row(ctx, `SELECT tenant, key, digest, status, body, created_at FROM replay
		WHERE tenant = ? AND key = ? AND created_at >= ?`, []any{tenant, key, millis(notBefore)},
		&r.Tenant, &r.Key, hashCol{&r.Digest}, &r.Status, &r.Body, timeCol{&r.CreatedAt})
	return r, absent(err)
}

// KeepReplay writes an answer. One that is kept already and not yet too old
// is not overwritten: Conflict idempotency_key_reused.
func (t *Tx) KeepReplay(ctx context.Context, r store.Replay) error {
	body := r.Body
	if body == nil {
		body = []byte{}
	}
	n, err := t.exec(ctx, `INSERT INTO replay (tenant, key, digest, status, body, created_at) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT (tenant, key) DO UPDATE SET digest = excluded.digest, status = excluded.status, body = excluded.body,
		created_at = excluded.created_at WHERE replay.created_at < ?`,
		r.Tenant, r.Key, r.Digest[:], r.Status, body, millis(r.CreatedAt), millis(r.CreatedAt.Add(-store.ReplayFor)))
	if err != nil {
		return inserted("an answer under this key", err)
	}
	if n == 0 {
		return &masking.Error{Kind: masking.Conflict, Code: masking.CodeIdempotencyKeyReused,
			Message: "an answer is kept under this Idempotency-Key"}
	}
	return nil
}

// ForgetReplays removes old answers, the oldest first.
func (t *Tx) ForgetReplays(ctx context.Context, before time.Time, limit int) (int, error) {
	n, err := t.exec(ctx, forget(`replay`, `tenant, key`,
		`SELECT tenant, key FROM replay WHERE created_at < ? ORDER BY created_at LIMIT ?`), millis(before), most(limit))
	return int(n), err
}
