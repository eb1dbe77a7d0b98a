package sqlstore

import (
	"context"
	"fmt"

	"tandem/internal/masking"
)

const tenantColumns = `t.id, t.account_sid, t.name, t.zone, t.rate_per_second, t.rate_burst,
	t.max_duration, t.ring_each, t.ring_total, t.created_at, t.country, t.language, t.pin_length, t.pin_fallback,
	t.stranger_action, t.stranger_forward, t.stranger_url, t.recording_notice, t.recording_retention,
	t.ring_strategy, t.max_calls, t.max_allocation_calls, t.max_caller_rate, t.max_call, t.end_with_allocation, t.retention,
	t.permitted_prefixes, t.allowed_prefixes, t.max_day_calls, t.max_day_talk,
	t.velocity_window, t.velocity_caller, t.velocity_allocation, t.velocity_tenant, t.velocity_block`

// tenantDest are the destinations of tenantColumns.
func (r *Reader) tenantDest(t *masking.Tenant) []any {
	s := &t.Settings
	return append([]any{&t.ID, &t.AccountSID, &t.Name, zoneCol{r.c.Zones(), &s.Zone}, &s.RateLimit.PerSecond, &s.RateLimit.Burst,
		durationCol{&s.MaxDuration}, durationCol{&s.RingEach}, durationCol{&s.RingTotal}, timeCol{&t.CreatedAt},
		&s.Country, &s.Language, &s.PINLength, &s.PINFallback,
		actionCol(&s.Strangers.Action), numberCol{&s.Strangers.Forward}, &s.Strangers.URL,
		&s.RecordingNotice, durationCol{&s.RecordingRetention},
		wordCol[masking.RingStrategy]{&s.Ring, "ring strategy", masking.RingStrategies},
		&s.MaxCalls, &s.MaxAllocationCalls, &s.MaxCallerRate, durationCol{&s.MaxCall}, &s.EndWithAllocation, durationCol{&s.Retention}}, guardDest(&s.Guards)...)
}

// settingsArgs are a tenant's settings without the zone, in the order of the
// statements that write them.
func settingsArgs(s masking.Settings) []any {
	return append([]any{s.RateLimit.PerSecond, s.RateLimit.Burst,
		s.MaxDuration.Milliseconds(), s.RingEach.Milliseconds(), s.RingTotal.Milliseconds(),
		s.Country, s.Language, s.PINLength, s.PINFallback,
		s.Strangers.Action, s.Strangers.Forward.E164(), s.Strangers.URL, s.RecordingNotice, s.RecordingRetention.Milliseconds(),
		s.Ring, s.MaxCalls, s.MaxAllocationCalls, s.MaxCallerRate, s.MaxCall.Milliseconds(), s.EndWithAllocation, s.Retention.Milliseconds()}, guardArgs(s.Guards)...)
}

func actionCol(to *masking.StrangerAction) wordCol[masking.StrangerAction] {
	return wordCol[masking.StrangerAction]{to, "treatment of strangers", []masking.StrangerAction{masking.Announce, masking.AskPIN,
		masking.Forward, masking.AskWebhook, masking.Reject, ""}}
}

func scanTenant(r *Reader, row Scanner) (t masking.Tenant, err error) {
	return t, row.Scan(r.tenantDest(&t)...)
}

func scanToken(_ *Reader, row Scanner) (t masking.Token, err error) {
	return t, row.Scan(&t.ID, &t.Tenant, &t.Label, hashCol{&t.Hash}, timeCol{&t.CreatedAt})
}

func stillInUse(message string) error {
	return &masking.Error{Kind: masking.Conflict, Code: masking.CodeStillInUse, Message: message}
}

// Tenant reads one tenant.
func (r *Reader) Tenant(ctx context.Context, id masking.TenantID) (t masking.Tenant, err error) {
	err = r.row(ctx, `SELECT `+tenantColumns+` FROM tenant t WHERE t.id = ?`, []any{id}, r.tenantDest(&t)...)
	return t, absent(err)
}

// LockTenant reads one tenant who is about to be changed.
func (t *Tx) LockTenant(ctx context.Context, id masking.TenantID) (masking.Tenant, error) {
	t.c.Lock(ForNoKeyUpdate, `tenant WHERE id = ?`, id)
	return t.Tenant(ctx, id)
}

// TenantBySID reads a tenant by his Account SID, with all of his tokens.
func (r *Reader) TenantBySID(ctx context.Context, sid masking.AccountSID) (t masking.Tenant, tokens []masking.Token, err error) {
	err = r.row(ctx, `SELECT `+tenantColumns+` FROM tenant t WHERE t.account_sid = ?`, []any{sid}, r.tenantDest(&t)...)
	if err != nil {
		return t, nil, absent(err)
	}
	tokens, err = r.Tokens(ctx, t.ID)
	return t, tokens, err
}

// Tenants are all tenants, by id.
func (r *Reader) Tenants(ctx context.Context) ([]masking.Tenant, error) {
	return list(ctx, r, `SELECT `+tenantColumns+` FROM tenant t ORDER BY t.id`, nil, scanTenant)
}

// Tokens are a tenant's tokens, oldest first.
func (r *Reader) Tokens(ctx context.Context, id masking.TenantID) ([]masking.Token, error) {
	return list(ctx, r, `SELECT id, tenant, label, hash, created_at FROM token WHERE tenant = ? ORDER BY created_at, id`,
		[]any{id}, scanToken)
}

// InsertTenant writes a new tenant.
func (t *Tx) InsertTenant(ctx context.Context, v masking.Tenant) error {
	zone, err := t.c.Zones().name(v.Settings.Zone)
	if err != nil {
		return err
	}
	return t.insert(ctx, "a tenant with this id or account SID", `INSERT INTO tenant (id, account_sid, name, zone, created_at, rate_per_second, rate_burst,
		max_duration, ring_each, ring_total, country, language, pin_length, pin_fallback,
		stranger_action, stranger_forward, stranger_url, recording_notice, recording_retention,
		ring_strategy, max_calls, max_allocation_calls, max_caller_rate, max_call, end_with_allocation, retention,
		permitted_prefixes, allowed_prefixes, max_day_calls, max_day_talk,
		velocity_window, velocity_caller, velocity_allocation, velocity_tenant, velocity_block)
		VALUES (`+marks(35)+`)`,
		append([]any{v.ID, v.AccountSID, v.Name, zone, millis(v.CreatedAt)}, settingsArgs(v.Settings)...)...)
}

// UpdateTenant writes everything but the creation.
func (t *Tx) UpdateTenant(ctx context.Context, v masking.Tenant) error {
	zone, err := t.c.Zones().name(v.Settings.Zone)
	if err != nil {
		return err
	}
	args := append([]any{v.AccountSID, v.Name, zone}, settingsArgs(v.Settings)...)
	n, err := t.exec(ctx, `UPDATE tenant SET account_sid = ?, name = ?, zone = ?, rate_per_second = ?, rate_burst = ?,
		max_duration = ?, ring_each = ?, ring_total = ?, country = ?, language = ?, pin_length = ?, pin_fallback = ?,
		stranger_action = ?, stranger_forward = ?, stranger_url = ?, recording_notice = ?, recording_retention = ?,
		ring_strategy = ?, max_calls = ?, max_allocation_calls = ?, max_caller_rate = ?, max_call = ?, end_with_allocation = ?, retention = ?,
		permitted_prefixes = ?, allowed_prefixes = ?, max_day_calls = ?, max_day_talk = ?,
		velocity_window = ?, velocity_caller = ?, velocity_allocation = ?, velocity_tenant = ?, velocity_block = ?
		WHERE id = ?`, append(args, v.ID)...)
	return exactlyOne(n, inserted("a tenant with this account SID", err))
}

// DeleteTenant removes a tenant without numbers, and all that was his.
func (t *Tx) DeleteTenant(ctx context.Context, id masking.TenantID) error {
	has, err := t.found(ctx, `SELECT 1 FROM virtual_number WHERE tenant = ? LIMIT 1`, id)
	if err != nil {
		return err
	}
	if has {
		return stillInUse("the tenant still has numbers in the pool")
	}
	held, err := t.found(ctx, `SELECT 1 FROM recording WHERE tenant = ? AND held = 1 AND status <> 'deleted' LIMIT 1`, id)
	if err != nil {
		return err
	}
	if held {
		return stillInUse("the tenant has recordings under legal hold")
	}
	for _, text := range []string{
		// What refers to his allocations first. Tries are left where a call that was
		// up counted one after its number had gone.
		`DELETE FROM pin_try WHERE allocation IN (SELECT id FROM allocation WHERE tenant = ?)`,
		`DELETE FROM claim WHERE allocation IN (SELECT id FROM allocation WHERE tenant = ?)`,
		`DELETE FROM party WHERE tenant = ?`,
		`DELETE FROM allocation WHERE tenant = ?`,
		`DELETE FROM call_state WHERE call IN (SELECT id FROM call WHERE tenant = ?)`,
		`DELETE FROM call WHERE tenant = ?`,
		// With the key go the recordings: what is left of them in the blob store
		// nobody can read.
		`DELETE FROM recording WHERE tenant = ?`,
		`DELETE FROM recording_key WHERE tenant = ?`,
		`DELETE FROM prompt WHERE tenant = ?`,
		`DELETE FROM blocked_caller WHERE tenant = ?`,
		`DELETE FROM pace WHERE tenant = ?`,
		`DELETE FROM delivery WHERE webhook IN (SELECT id FROM webhook WHERE tenant = ?)`,
		`DELETE FROM webhook WHERE tenant = ?`,
		`DELETE FROM event WHERE tenant = ?`,
		`DELETE FROM replay WHERE tenant = ?`,
		`DELETE FROM erasure WHERE tenant = ?`,
		`DELETE FROM token WHERE tenant = ?`,
	} {
		if _, err := t.exec(ctx, text, id); err != nil {
			return fmt.Errorf("delete tenant: %w", err)
		}
	}
	return exactlyOne(t.exec(ctx, `DELETE FROM tenant WHERE id = ?`, id))
}

// InsertToken writes a new token of an existing tenant.
func (t *Tx) InsertToken(ctx context.Context, v masking.Token) error {
	return t.insert(ctx, "a token with this id", `INSERT INTO token (id, tenant, label, hash, created_at) VALUES (?, ?, ?, ?, ?)`,
		v.ID, v.Tenant, v.Label, v.Hash[:], millis(v.CreatedAt))
}

// DeleteToken removes a token of the tenant; ErrNotFound if it is not his.
func (t *Tx) DeleteToken(ctx context.Context, tenant masking.TenantID, id masking.TokenID) error {
	return exactlyOne(t.exec(ctx, `DELETE FROM token WHERE id = ? AND tenant = ?`, id, tenant))
}
