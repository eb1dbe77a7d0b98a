package sqlstore

import (
	"context"
	"errors"
	"slices"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/store"
)

const allocationColumns = `a.id, a.tenant, a.virtual_number, a.from_numbers, a.to_numbers, a.usage, a.record, a.custom_field,
	a.created_at, a.updated_at, a.expires_at, a.ended_at, a.end_reason, a.calls, a.connected, a.talk_seconds,
	a.pin, a.to_pin, a.max_pin_attempts, a.to_began, a.to_answered, a.from_began, a.from_answered, a.day, a.day_calls, a.day_talk_seconds`

// allocationDest are the destinations of allocationColumns.
func allocationDest(a *masking.Allocation) []any {
	return []any{&a.ID, &a.Tenant, numberCol{&a.VirtualNumber}, numbersCol{&a.From}, numbersCol{&a.To},
		usageCol(&a.Usage), &a.Record, &a.CustomField,
		timeCol{&a.CreatedAt}, timeCol{&a.UpdatedAt}, timeCol{&a.ExpiresAt}, timeCol{&a.EndedAt}, &a.EndReason,
		&a.Tally.Calls, &a.Tally.Connected, &a.Tally.TalkSeconds, pinCol{&a.PIN}, pinCol{&a.ToPIN}, &a.MaxPINAttempts,
		numberCol{&a.ToTurn.Began}, numberCol{&a.ToTurn.Answered}, numberCol{&a.FromTurn.Began}, numberCol{&a.FromTurn.Answered},
		dayCol{&a.Today.Day}, &a.Today.Calls, secondsCol{&a.Today.Talk}}
}

func usageCol(to *masking.Usage) wordCol[masking.Usage] {
	return wordCol[masking.Usage]{to, "usage", []masking.Usage{masking.TwoWay, masking.OneWay}}
}

func scanAllocation(_ *Reader, row Scanner) (a masking.Allocation, err error) {
	return a, row.Scan(allocationDest(&a)...)
}

// Allocation reads one allocation of the tenant.
func (r *Reader) Allocation(ctx context.Context, tenant masking.TenantID, id masking.AllocationID) (a masking.Allocation, err error) {
	r.c.Lock(ForUpdate, `allocation WHERE id = ? AND tenant = ?`, id, tenant)
	err = r.row(ctx, `SELECT `+allocationColumns+` FROM allocation a WHERE a.id = ? AND a.tenant = ?`,
		[]any{id, tenant}, allocationDest(&a)...)
	return a, absent(err)
}

// Allocations are a page of a list, newest first.
func (r *Reader) Allocations(ctx context.Context, f store.AllocationFilter) ([]masking.Allocation, error) {
	switch {
	case f.Product != masking.GreenVN && f.Product != masking.GreenPin:
		return nil, errors.New("store: a list of allocations is of one product")
	case f.Product == masking.GreenVN && f.Status == masking.Expired:
		return nil, nil // those read as deleted
	}
	text, args := allocationQuery(f)
	return list(ctx, r, text, args, scanAllocation)
}

// bounds are the identifiers of the product from which and before which a page is.
func bounds(f store.AllocationFilter) (from, before string) {
	from = masking.PrefixAllocation
	if f.Product == masking.GreenPin {
		from = masking.PrefixPIN
	}
	before = from + "~" // above every identifier
	if f.Before != "" {
		before = min(before, string(f.Before))
	}
	return from, before
}

// allocationQuery writes the query of a list so that one index gives its rows
// in order from the cursor on: of the party, of the virtual number, of those
// not ended, or of the tenant, whichever the filter makes shortest.
func allocationQuery(f store.AllocationFilter) (text string, args []any) {
	if f.Status != "" && f.Status != masking.Active && f.Tenant != "" && f.Party.IsZero() && f.VirtualNumber.IsZero() {
		return endedQuery(f)
	}
	text = `SELECT ` + allocationColumns + ` FROM allocation a WHERE 1 = 1`
	owner, id := `a`, `a.id`
	if !f.Party.IsZero() {
		text = `SELECT ` + allocationColumns + ` FROM party p JOIN allocation a ON a.id = p.allocation WHERE 1 = 1`
		owner, id = `p`, `p.allocation`
	}
	and := func(condition string, values ...any) { text, args = text+` AND `+condition, append(args, values...) }
	if !f.Party.IsZero() {
		and(`p.number = ?`, f.Party.E164())
	}
	if f.Tenant != "" {
		and(owner+`.tenant = ?`, f.Tenant)
	}
	if !f.VirtualNumber.IsZero() {
		and(owner+`.virtual_number = ?`, f.VirtualNumber.E164())
	}
	switch {
	case f.Status == masking.Active:
		and(`a.ended_at = 0 AND a.expires_at > ?`, millis(f.Now))
	case f.Status == masking.Expired:
		and(`(a.end_reason = 'expired' OR (a.ended_at = 0 AND a.expires_at <= ?))`, millis(f.Now))
	case f.Status == masking.Deleted && f.Product == masking.GreenPin:
		and(`a.ended_at <> 0 AND a.end_reason <> 'expired'`)
	case f.Status == masking.Deleted:
		and(`(a.ended_at <> 0 OR a.expires_at <= ?)`, millis(f.Now))
	}
	from, before := bounds(f)
	and(id+` >= ? AND `+id+` < ?`, from, before)
	return text + ` ORDER BY ` + id + ` DESC LIMIT ?`, append(args, most(f.Limit))
}

// endedQuery writes the query of a tenant's ended allocations as two: those
// whose end is written, in the order of their own index, and those that are over
// and wait for the sweeper, which are few and found by their expiry. Else the
// ended ones would be looked for among all that live. Of those by PIN somebody
// ends some and the clock the others, and each kind is a list of its own.
func endedQuery(f store.AllocationFilter) (text string, args []any) {
	from, before := bounds(f)
	text = `SELECT ` + allocationColumns + ` FROM allocation a INDEXED BY allocation_ended
		WHERE a.tenant = ? AND a.ended_at <> 0 AND a.id >= ? AND a.id < ?`
	args = []any{f.Tenant, from, before}
	if f.Product == masking.GreenPin {
		text = `SELECT ` + allocationColumns + ` FROM allocation a INDEXED BY allocation_pin_ended
			WHERE a.tenant = ? AND a.ended_at <> 0 AND a.id < 'gvn_' AND a.id >= ? AND a.id < ? AND (a.end_reason = 'expired') = ?`
		args = append(args, f.Status == masking.Expired)
	}
	if f.Product == masking.GreenPin && f.Status == masking.Deleted {
		return text + ` ORDER BY a.id DESC LIMIT ?`, append(args, most(f.Limit))
	}
	return text + ` UNION ALL SELECT ` + allocationColumns + ` FROM allocation a INDEXED BY allocation_open_expiry
		WHERE a.tenant = ? AND a.ended_at = 0 AND a.expires_at <= ? AND a.id >= ? AND a.id < ? ORDER BY 1 DESC LIMIT ?`,
		append(args, f.Tenant, millis(f.Now), from, before, most(f.Limit))
}

const overdue = `SELECT ` + allocationColumns + ` FROM allocation a
	WHERE a.ended_at = 0 AND a.expires_at <= ? ORDER BY a.expires_at, a.id LIMIT ?`

// Overdue are allocations that have expired and whose end is not written,
// longest overdue first.
func (r *Reader) Overdue(ctx context.Context, now time.Time, limit int) ([]masking.Allocation, error) {
	return list(ctx, r, overdue, []any{millis(now), most(limit)}, scanAllocation)
}

// Overdue locks them, as they are then: one that is being changed is left to whoever
// changes it.
func (t *Tx) Overdue(ctx context.Context, now time.Time, limit int) ([]masking.Allocation, error) {
	return list(ctx, &t.Reader, overdue+PassLocked, []any{millis(now), most(limit)}, scanAllocation)
}

// LockAllocations locks rows in the order of their keys. Some are named twice, so that there
// are few statements of different lengths: each is prepared on each connection.
func (t *Tx) LockAllocations(ids []masking.AllocationID) {
	var keys []any
	for _, id := range ids {
		if id != "" {
			keys = append(keys, id)
		}
	}
	if keys == nil {
		return
	}
	for len(keys)&(len(keys)-1) != 0 {
		keys = append(keys, keys[0])
	}
	t.c.Lock(ForUpdate, `allocation WHERE id IN (`+marks(len(keys))+`) ORDER BY id`, keys...)
}

// InsertAllocation writes a new allocation and its parties.
func (t *Tx) InsertAllocation(ctx context.Context, a masking.Allocation) error {
	_, err := t.exec(ctx, `INSERT INTO allocation (id, tenant, virtual_number, from_numbers, to_numbers, usage, record, custom_field,
		created_at, updated_at, expires_at, ended_at, end_reason, calls, connected, talk_seconds, pin, to_pin, max_pin_attempts)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		a.ID, a.Tenant, a.VirtualNumber.E164(), joinNumbers(a.From), joinNumbers(a.To), a.Usage, a.Record, a.CustomField,
		millis(a.CreatedAt), millis(a.UpdatedAt), millis(a.ExpiresAt), millis(a.EndedAt), a.EndReason,
		a.Tally.Calls, a.Tally.Connected, a.Tally.TalkSeconds, a.PIN.Reveal(), a.ToPIN.Reveal(), a.MaxPINAttempts)
	if err != nil {
		return inserted("an allocation with this id", err)
	}
	t.unclaimed = a.ID
	return t.insertParties(ctx, a)
}

// UpdateAllocation writes everything but the tally and the creation.
func (t *Tx) UpdateAllocation(ctx context.Context, a masking.Allocation) error {
	old, err := t.Allocation(ctx, a.Tenant, a.ID)
	if err != nil {
		return err
	}
	err = exactlyOne(t.exec(ctx, `UPDATE allocation SET virtual_number = ?, from_numbers = ?, to_numbers = ?, usage = ?, record = ?,
		custom_field = ?, updated_at = ?, expires_at = ?, ended_at = ?, end_reason = ?, pin = ?, to_pin = ?, max_pin_attempts = ?
		WHERE id = ?`,
		a.VirtualNumber.E164(), joinNumbers(a.From), joinNumbers(a.To), a.Usage, a.Record,
		a.CustomField, millis(a.UpdatedAt), millis(a.ExpiresAt), millis(a.EndedAt), a.EndReason,
		a.PIN.Reveal(), a.ToPIN.Reveal(), a.MaxPINAttempts, a.ID))
	if err != nil || sameParties(old, a) {
		return err
	}
	// The old rows are named by their keys: party has no index by allocation,
	// which every create would pay for.
	parties := old.Parties()
	_, err = t.exec(ctx, `DELETE FROM party WHERE number IN (`+marks(len(parties))+`) AND tenant = ? AND allocation = ?`,
		append(texts(nil, parties), a.Tenant, a.ID)...)
	if err != nil {
		return err
	}
	return t.insertParties(ctx, a)
}

// sameParties reports whether the rows of party for a and b are the same.
func sameParties(a, b masking.Allocation) bool {
	return a.VirtualNumber == b.VirtualNumber && a.Usage == b.Usage && until(a) == until(b) && len(a.PINs()) > 0 == (len(b.PINs()) > 0) &&
		slices.Equal(a.From, b.From) && slices.Equal(a.To, b.To)
}

// until is the end of the allocation's life as known now, in milliseconds.
func until(a masking.Allocation) int64 {
	if !a.EndedAt.IsZero() {
		return min(millis(a.EndedAt), millis(a.ExpiresAt))
	}
	return millis(a.ExpiresAt)
}

// insertParties writes one row of party for each number of the allocation that
// was not erased.
func (t *Tx) insertParties(ctx context.Context, a masking.Allocation) error {
	const width = 9
	parties := a.Parties()
	if !slices.ContainsFunc(parties, func(n e164.Number) bool { return !n.IsErased() }) {
		return nil
	}
	text := make([]byte, 0, 160+len(parties)*(3*width+2))
	text = append(text, `INSERT INTO party (number, tenant, allocation, virtual_number, side, position, silent, until, pin) VALUES `...)
	args := make([]any, 0, width*len(parties))
	for i, n := range parties {
		if n.IsErased() {
			continue
		}
		if len(args) > 0 {
			text = append(text, ',')
		}
		text = append(text, `(?, ?, ?, ?, ?, ?, ?, ?, ?)`...)
		side, position := "from", i
		if i >= len(a.From) {
			side, position = "to", i-len(a.From)
		}
		args = append(args, n.E164(), a.Tenant, a.ID, a.VirtualNumber.E164(), side, position,
			side == "to" && a.Usage == masking.OneWay && a.Product() == masking.GreenVN, until(a), len(a.PINs()) > 0)
	}
	_, err := t.exec(ctx, string(text), args...)
	return inserted("a party on this allocation", err)
}

// Silent looks for an allocation whose To names the caller in vain. Identifiers
// sort by time, so the greatest is the newest.
func (r *Reader) Silent(ctx context.Context, virtual, caller e164.Number, now time.Time) (a masking.Allocation, found bool, err error) {
	err = r.row(ctx, `SELECT `+allocationColumns+` FROM allocation a WHERE a.id = (
		SELECT MAX(p.allocation) FROM party p WHERE p.number = ? AND p.virtual_number = ? AND p.until > ? AND p.silent = 1)`,
		[]any{caller.E164(), virtual.E164(), millis(now)}, allocationDest(&a)...)
	if err = absent(err); masking.KindOf(err) == masking.NotFound {
		return masking.Allocation{}, false, nil
	}
	return a, err == nil, err
}
