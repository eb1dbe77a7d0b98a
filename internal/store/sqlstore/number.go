package sqlstore

import (
	"context"
	"math"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
)

const numberColumns = `n.number, n.tenant, n.sharing, n.region, n.type, n.load, n.rested_at, n.created_at,
	n.stranger_action, n.stranger_forward, n.stranger_url`

// numberDest are the destinations of numberColumns.
func numberDest(n *masking.VirtualNumber) []any {
	return []any{numberCol{&n.Number}, &n.Tenant, sharingCol(&n.Sharing), &n.Region, &n.Type, &n.Load,
		timeCol{&n.RestedAt}, timeCol{&n.CreatedAt},
		actionCol(&n.Strangers.Action), numberCol{&n.Strangers.Forward}, &n.Strangers.URL}
}

func sharingCol(to *masking.Sharing) wordCol[masking.Sharing] {
	return wordCol[masking.Sharing]{to, "sharing", []masking.Sharing{masking.Exclusive, masking.Shared}}
}

func scanNumber(_ *Reader, row Scanner) (n masking.VirtualNumber, err error) {
	return n, row.Scan(numberDest(&n)...)
}

// most makes a limit of a LIMIT: not above zero means all.
func most(limit int) int64 {
	if limit <= 0 {
		return math.MaxInt64
	}
	return int64(limit)
}

// texts adds the numbers to the arguments of a statement.
func texts(args []any, numbers []e164.Number) []any {
	for _, n := range numbers {
		args = append(args, n.E164())
	}
	return args
}

// Number reads one number of the tenant's pool.
func (r *Reader) Number(ctx context.Context, tenant masking.TenantID, n e164.Number) (v masking.VirtualNumber, err error) {
	r.c.Lock(ForUpdate, `virtual_number WHERE number = ? AND tenant = ?`, n.E164(), tenant)
	err = r.row(ctx, `SELECT `+numberColumns+` FROM virtual_number n WHERE n.number = ? AND n.tenant = ?`,
		[]any{n.E164(), tenant}, numberDest(&v)...)
	return v, absent(err)
}

// Numbers are the tenant's numbers above after, in order.
func (r *Reader) Numbers(ctx context.Context, tenant masking.TenantID, after string, limit int) ([]masking.VirtualNumber, error) {
	return list(ctx, r, `SELECT `+numberColumns+` FROM virtual_number n
		WHERE n.tenant = ? AND n.number > ? ORDER BY n.number LIMIT ?`, []any{tenant, after, most(limit)}, scanNumber)
}

// AnyVirtual tells whether one of the numbers is in any pool. Within an Update the
// row of the tenant is locked, for which InsertNumber waits.
func (r *Reader) AnyVirtual(ctx context.Context, tenant masking.TenantID, numbers []e164.Number) (bool, error) {
	if len(numbers) == 0 {
		return false, nil
	}
	r.c.Lock(ForKeyShare, `tenant WHERE id = ?`, tenant)
	return r.found(ctx, `SELECT 1 FROM virtual_number WHERE number IN (`+marks(len(numbers))+`) LIMIT 1`, texts(nil, numbers)...)
}

// Usable are numbers that the automatic choice may take, best first. It reads
// free numbers alone, in the order of an index: a pool without one costs one
// search, however large it is.
func (r *Reader) Usable(ctx context.Context, tenant masking.TenantID, p masking.Pick, parties []e164.Number, now time.Time, limit int) ([]masking.VirtualNumber, error) {
	free, err := list(ctx, r, usable(p, `n.busy_until = 0`, len(parties))+` ORDER BY n.load, n.rested_at, n.number LIMIT ?`,
		usableArgs(tenant, p, nil, parties, now, limit), scanNumber)
	if err != nil || p.Sharing == masking.Shared || (limit > 0 && len(free) >= limit) {
		return free, err
	}
	if limit > 0 {
		limit -= len(free)
	}
	// Those whose claim has run out and was not swept: few, and as good.
	over, err := list(ctx, r, usable(p, `n.busy_until > 0 AND n.busy_until <= ?`, len(parties))+
		` ORDER BY n.busy_until, n.load, n.rested_at, n.number LIMIT ?`,
		usableArgs(tenant, p, []any{millis(now)}, parties, now, limit), scanNumber)
	return append(free, over...), err
}

// usable writes the query of Usable without its order; usableArgs has the
// arguments in the same order.
func usable(p masking.Pick, busy string, parties int) string {
	text := `SELECT ` + numberColumns + ` FROM virtual_number n WHERE n.tenant = ? AND n.sharing = ? AND ` + busy
	if p.Region != "" {
		text += ` AND n.region = ?`
	}
	if p.Type != "" {
		text += ` AND n.type = ?`
	}
	if p.Sharing == masking.Shared && parties > 0 {
		text += ` AND NOT EXISTS (SELECT 1 FROM claim c WHERE c.virtual_number = n.number
			AND c.caller IN (` + marks(parties) + `) AND c.expires_at > ?)
			AND NOT EXISTS (SELECT 1 FROM party p WHERE p.number IN (` + marks(parties) + `)
			AND p.virtual_number = n.number AND p.until > ? AND p.silent = 1)`
	}
	return text
}

func usableArgs(tenant masking.TenantID, p masking.Pick, busy []any, parties []e164.Number, now time.Time, limit int) []any {
	args := append([]any{tenant, p.Sharing}, busy...)
	if p.Region != "" {
		args = append(args, p.Region)
	}
	if p.Type != "" {
		args = append(args, p.Type)
	}
	if p.Sharing == masking.Shared && len(parties) > 0 {
		args = append(texts(args, parties), millis(now))
		args = append(texts(args, parties), millis(now))
	}
	return append(args, most(limit))
}

// EarliestRelease asks for the exclusive number that is free first, and for the
// first end of what the parties stand in by their numbers on shared ones.
func (r *Reader) EarliestRelease(ctx context.Context, tenant masking.TenantID, parties []e164.Number, now time.Time) (at time.Time, err error) {
	err = r.row(ctx, `SELECT COALESCE(MIN(busy_until), 0) FROM virtual_number WHERE tenant = ? AND sharing = ? AND busy_until > ?`,
		[]any{tenant, masking.Exclusive, millis(now)}, timeCol{&at})
	if err != nil || len(parties) == 0 {
		return at, err
	}
	var met time.Time
	err = r.row(ctx, `SELECT COALESCE(MIN(p.until), 0) FROM party p JOIN virtual_number n ON n.number = p.virtual_number
		WHERE p.number IN (`+marks(len(parties))+`) AND p.until > ? AND p.tenant = ? AND p.allocation >= ?
		AND n.tenant = ? AND n.sharing = ?`,
		append(texts(nil, parties), millis(now), tenant, masking.PrefixAllocation, tenant, masking.Shared), timeCol{&met})
	if at.IsZero() || (!met.IsZero() && met.Before(at)) {
		at = met
	}
	return at, err
}

// InsertNumber puts a number into a pool.
func (t *Tx) InsertNumber(ctx context.Context, n masking.VirtualNumber, now time.Time) error {
	if !t.entering {
		t.c.Lock(ForUpdate, `tenant WHERE id <> '' ORDER BY id`)
		t.entering = true
	}
	party, err := t.found(ctx, `SELECT 1 FROM party WHERE number = ? AND until > ? LIMIT 1`, n.Number.E164(), millis(now))
	if err != nil {
		return err
	}
	if party {
		return stillInUse("the number is a party of an active allocation")
	}
	return t.insert(ctx, "the number in a pool", `INSERT INTO virtual_number (number, tenant, sharing, region, type, load, rested_at, busy_until, created_at,
		stranger_action, stranger_forward, stranger_url) VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?, ?, ?, ?)`,
		n.Number.E164(), n.Tenant, n.Sharing, n.Region, n.Type, n.Load, millis(n.RestedAt), millis(n.CreatedAt),
		n.Strangers.Action, n.Strangers.Forward.E164(), n.Strangers.URL)
}

// UpdateNumber writes region, type, sharing and what strangers get.
func (t *Tx) UpdateNumber(ctx context.Context, n masking.VirtualNumber, now time.Time) error {
	old, err := t.Number(ctx, n.Tenant, n.Number)
	if err != nil {
		return err
	}
	if old.Sharing != n.Sharing {
		if err := t.checkIdle(ctx, n.Number, now); err != nil {
			return err
		}
	}
	// A sharing that changes finds the number idle: what claim is left has run out.
	return exactlyOne(t.exec(ctx, `UPDATE virtual_number SET busy_until = CASE WHEN sharing = ? THEN busy_until ELSE 0 END,
		sharing = ?, region = ?, type = ?, stranger_action = ?, stranger_forward = ?, stranger_url = ?
		WHERE number = ? AND tenant = ?`, n.Sharing, n.Sharing, n.Region, n.Type,
		n.Strangers.Action, n.Strangers.Forward.E164(), n.Strangers.URL, n.Number.E164(), n.Tenant))
}

// DeleteNumber takes a number out of the pool. What claims are left on it have
// expired and go with it, and so do the wrong entries.
func (t *Tx) DeleteNumber(ctx context.Context, tenant masking.TenantID, n e164.Number, now time.Time) error {
	if _, err := t.Number(ctx, tenant, n); err != nil {
		return err
	}
	if err := t.checkIdle(ctx, n, now); err != nil {
		return err
	}
	for _, text := range []string{`DELETE FROM claim WHERE virtual_number = ?`, `DELETE FROM pin_try WHERE virtual_number = ?`} {
		if _, err := t.exec(ctx, text, n.E164()); err != nil {
			return err
		}
	}
	return exactlyOne(t.exec(ctx, `DELETE FROM virtual_number WHERE number = ? AND tenant = ?`, n.E164(), tenant))
}

// checkIdle refuses while an allocation on the number, which is locked, is active.
func (t *Tx) checkIdle(ctx context.Context, n e164.Number, now time.Time) error {
	active, err := t.found(ctx, `SELECT 1 FROM allocation WHERE virtual_number = ? AND ended_at = 0 AND expires_at > ? LIMIT 1`,
		n.E164(), millis(now))
	if err != nil {
		return err
	}
	if active {
		return stillInUse("an allocation on the number is active")
	}
	return nil
}

// NoteUse keeps the hint for the automatic choice. The number may have left
// the pool meanwhile, which is no error.
func (t *Tx) NoteUse(ctx context.Context, n e164.Number, delta int, now time.Time) error {
	_, err := t.exec(ctx, `UPDATE virtual_number SET load = CASE WHEN load + ? > 0 THEN load + ? ELSE 0 END, rested_at = ?
		WHERE number = ?`, delta, delta, millis(now), n.E164())
	return err
}
