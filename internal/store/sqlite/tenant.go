package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"tandem/internal/masking"
)

const tenantColumns = `t.id, t.account_sid, t.name, t.zone, t.rate_per_second, t.rate_burst,
	t.max_duration, t.ring_each, t.ring_total, t.created_at`

// tenantDest are the destinations of tenantColumns.
func (r *reader) tenantDest(t *masking.Tenant) []any {
	s := &t.Settings
	return []any{&t.ID, &t.AccountSID, &t.Name, zoneCol{r.zones, &s.Zone}, &s.RateLimit.PerSecond, &s.RateLimit.Burst,
		durationCol{&s.MaxDuration}, durationCol{&s.RingEach}, durationCol{&s.RingTotal}, timeCol{&t.CreatedAt}}
}

func scanTenant(r *reader, row scanner) (t masking.Tenant, err error) {
	return t, row.Scan(r.tenantDest(&t)...)
}

func scanToken(_ *reader, row scanner) (t masking.Token, err error) {
	return t, row.Scan(&t.ID, &t.Tenant, &t.Label, hashCol{&t.Hash}, timeCol{&t.CreatedAt})
}

// absent makes a missing row the domain's ErrNotFound.
func absent(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return masking.ErrNotFound()
	}
	return err
}

// exactlyOne makes a change that met no row ErrNotFound.
func exactlyOne(n int64, err error) error {
	if err == nil && n == 0 {
		return masking.ErrNotFound()
	}
	return err
}

// inserted translates what an INSERT hit: a taken key is Conflict
// already_exists, a reference to nothing is ErrNotFound.
func inserted(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case duplicate(err):
		return &masking.Error{Kind: masking.Conflict, Code: masking.CodeAlreadyExists, Message: what + " exists already"}
	case orphan(err):
		return masking.ErrNotFound()
	}
	return err
}

func stillInUse(message string) error {
	return &masking.Error{Kind: masking.Conflict, Code: masking.CodeStillInUse, Message: message}
}

// Tenant reads one tenant.
func (r *reader) Tenant(ctx context.Context, id masking.TenantID) (t masking.Tenant, err error) {
	err = r.row(ctx, `SELECT `+tenantColumns+` FROM tenant t WHERE t.id = ?`, []any{id}, r.tenantDest(&t)...)
	return t, absent(err)
}

// TenantBySID reads a tenant by his Account SID, with all of his tokens.
func (r *reader) TenantBySID(ctx context.Context, sid masking.AccountSID) (t masking.Tenant, tokens []masking.Token, err error) {
	err = r.row(ctx, `SELECT `+tenantColumns+` FROM tenant t WHERE t.account_sid = ?`, []any{sid}, r.tenantDest(&t)...)
	if err != nil {
		return t, nil, absent(err)
	}
	tokens, err = r.Tokens(ctx, t.ID)
	return t, tokens, err
}

// Tenants are all tenants, by id.
func (r *reader) Tenants(ctx context.Context) ([]masking.Tenant, error) {
	return list(ctx, r, `SELECT `+tenantColumns+` FROM tenant t ORDER BY t.id`, nil, scanTenant)
}

// Tokens are a tenant's tokens, oldest first.
func (r *reader) Tokens(ctx context.Context, id masking.TenantID) ([]masking.Token, error) {
	return list(ctx, r, `SELECT id, tenant, label, hash, created_at FROM token WHERE tenant = ? ORDER BY created_at, id`,
		[]any{id}, scanToken)
}

// InsertTenant writes a new tenant.
func (t *tx) InsertTenant(ctx context.Context, v masking.Tenant) error {
	zone, err := t.zones.name(v.Settings.Zone)
	if err != nil {
		return err
	}
	s := v.Settings
	_, err = t.exec(ctx, `INSERT INTO tenant (id, account_sid, name, zone, rate_per_second, rate_burst,
		max_duration, ring_each, ring_total, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		v.ID, v.AccountSID, v.Name, zone, s.RateLimit.PerSecond, s.RateLimit.Burst,
		s.MaxDuration.Milliseconds(), s.RingEach.Milliseconds(), s.RingTotal.Milliseconds(), millis(v.CreatedAt))
	return inserted("a tenant with this id or account SID", err)
}

// UpdateTenant writes everything but the creation.
func (t *tx) UpdateTenant(ctx context.Context, v masking.Tenant) error {
	zone, err := t.zones.name(v.Settings.Zone)
	if err != nil {
		return err
	}
	s := v.Settings
	n, err := t.exec(ctx, `UPDATE tenant SET account_sid = ?, name = ?, zone = ?, rate_per_second = ?, rate_burst = ?,
		max_duration = ?, ring_each = ?, ring_total = ? WHERE id = ?`,
		v.AccountSID, v.Name, zone, s.RateLimit.PerSecond, s.RateLimit.Burst,
		s.MaxDuration.Milliseconds(), s.RingEach.Milliseconds(), s.RingTotal.Milliseconds(), v.ID)
	return exactlyOne(n, inserted("a tenant with this account SID", err))
}

// DeleteTenant removes a tenant without numbers, and all that was his.
func (t *tx) DeleteTenant(ctx context.Context, id masking.TenantID) error {
	has, err := t.found(ctx, `SELECT 1 FROM virtual_number WHERE tenant = ? LIMIT 1`, id)
	if err != nil {
		return err
	}
	if has {
		return stillInUse("the tenant still has numbers in the pool")
	}
	for _, text := range []string{
		// The claims and parties of his allocations first: they refer to them.
		`DELETE FROM claim WHERE allocation IN (SELECT id FROM allocation WHERE tenant = ?)`,
		`DELETE FROM party WHERE tenant = ?`,
		`DELETE FROM allocation WHERE tenant = ?`,
		`DELETE FROM call WHERE tenant = ?`,
		`DELETE FROM event WHERE tenant = ?`,
		`DELETE FROM replay WHERE tenant = ?`,
		`DELETE FROM token WHERE tenant = ?`,
	} {
		if _, err := t.exec(ctx, text, id); err != nil {
			return fmt.Errorf("delete tenant: %w", err)
		}
	}
	return exactlyOne(t.exec(ctx, `DELETE FROM tenant WHERE id = ?`, id))
}

// InsertToken writes a new token of an existing tenant.
func (t *tx) InsertToken(ctx context.Context, v masking.Token) error {
	_, err := t.exec(ctx, `INSERT INTO token (id, tenant, label, hash, created_at) VALUES (?, ?, ?, ?, ?)`,
		v.ID, v.Tenant, v.Label, v.Hash[:], millis(v.CreatedAt))
	return inserted("a token with this id", err)
}

// DeleteToken removes a token of the tenant; ErrNotFound if it is not his.
func (t *tx) DeleteToken(ctx context.Context, tenant masking.TenantID, id masking.TokenID) error {
	return exactlyOne(t.exec(ctx, `DELETE FROM token WHERE id = ? AND tenant = ?`, id, tenant))
}
