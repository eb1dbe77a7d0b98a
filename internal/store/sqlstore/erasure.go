package sqlstore

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/store"
)

const erasureColumns = `id, tenant, digest, number, part, place, waiting, removed, created_at, due_at, finished_at, blocked`

func scanErasure(_ *Reader, row Scanner) (e masking.Erasure, err error) {
	return e, row.Scan(&e.ID, &e.Tenant, hashCol{&e.Digest}, blobCol{&e.Number}, &e.Part, &e.Place, &e.Waiting, removedCol{&e.Removed},
		timeCol{&e.CreatedAt}, timeCol{&e.DueAt}, timeCol{&e.FinishedAt}, &e.Blocked)
}

// removedCol scans erasure.removed.
type removedCol struct{ to *masking.Removed }

func (c removedCol) Scan(src any) error {
	s, err := textOf(src, "counts of an erasure")
	if err == nil && json.Unmarshal([]byte(s), c.to) != nil {
		err = corrupt("counts of an erasure")
	}
	return err
}

func removedText(m masking.Removed) string {
	b, _ := json.Marshal(m) // counts can always be written
	return string(b)
}

// Erasure reads one erasure of the tenant.
func (r *Reader) Erasure(ctx context.Context, tenant masking.TenantID, id masking.ErasureID) (masking.Erasure, error) {
	r.c.Lock(ForNoKeyUpdate, `erasure WHERE id = ? AND tenant = ?`, id, tenant)
	found, err := list(ctx, r, `SELECT `+erasureColumns+` FROM erasure WHERE id = ? AND tenant = ?`, []any{id, tenant}, scanErasure)
	if err != nil || len(found) == 0 {
		return masking.Erasure{}, firstOf(err, masking.ErrNotFound())
	}
	return found[0], nil
}

func firstOf(err error, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

// Erasures are a page of a list, newest first.
func (r *Reader) Erasures(ctx context.Context, f store.ErasureFilter) ([]masking.Erasure, error) {
	text, args := `SELECT `+erasureColumns+` FROM erasure WHERE tenant = ?`, []any{f.Tenant}
	if f.Digest != [32]byte{} {
		text, args = text+` AND digest = ?`, append(args, f.Digest[:])
	}
	if f.Before != "" {
		text, args = text+` AND id < ?`, append(args, f.Before)
	}
	return list(ctx, r, text+` ORDER BY id DESC LIMIT ?`, append(args, most(f.Limit)), scanErasure)
}

// DueErasures reads the index of those that are not finished.
func (r *Reader) DueErasures(ctx context.Context, now time.Time, limit int) ([]masking.Erasure, error) {
	return list(ctx, r, `SELECT `+erasureColumns+` FROM erasure WHERE finished_at = 0 AND due_at <= ? ORDER BY due_at, id LIMIT ?`,
		[]any{millis(now), most(limit)}, scanErasure)
}

// ErasedSince reads an index of the tenant's erasures by number.
func (r *Reader) ErasedSince(ctx context.Context, tenant masking.TenantID, digest [32]byte, since time.Time) (bool, error) {
	r.c.Lock(ForShare, `tenant WHERE id = ?`, tenant)
	return r.found(ctx, `SELECT 1 FROM erasure WHERE tenant = ? AND digest = ? AND created_at >= ? LIMIT 1`, tenant, digest[:], millis(since))
}

// InsertErasure writes a new erasure.
func (t *Tx) InsertErasure(ctx context.Context, e masking.Erasure) error {
	// Written, not locked alone: whoever reads an older state is turned back then.
	if _, err := t.exec(ctx, `UPDATE tenant SET name = name WHERE id = ?`, e.Tenant); err != nil {
		return err
	}
	return t.insert(ctx, "an erasure with this id", `INSERT INTO erasure (`+erasureColumns+`) VALUES (`+marks(12)+`)`,
		e.ID, e.Tenant, e.Digest[:], blob(e.Number), e.Part, e.Place, e.Waiting, removedText(e.Removed),
		millis(e.CreatedAt), millis(e.DueAt), millis(e.FinishedAt), e.Blocked)
}

// UpdateErasure writes how far an erasure has come.
func (t *Tx) UpdateErasure(ctx context.Context, e masking.Erasure) error {
	return exactlyOne(t.exec(ctx, `UPDATE erasure SET number = ?, part = ?, place = ?, waiting = ?, removed = ?, due_at = ?, finished_at = ?, blocked = ?
		WHERE id = ? AND tenant = ?`, blob(e.Number), e.Part, e.Place, e.Waiting, removedText(e.Removed), millis(e.DueAt), millis(e.FinishedAt),
		e.Blocked, e.ID, e.Tenant))
}

// HeldOf goes through the tenant's recordings under legal hold, which are few.
func (r *Reader) HeldOf(ctx context.Context, tenant masking.TenantID, n e164.Number, limit int) ([]masking.CallID, error) {
	return list(ctx, r, `SELECT g.call FROM recording g JOIN call k ON k.id = g.call
		WHERE g.tenant = ? AND g.held = 1 AND g.status <> 'deleted' AND (k.caller = ? OR k.callee = ? OR k.attempts LIKE ?)
		ORDER BY g.call LIMIT ?`, []any{tenant, n.E164(), n.E164(), `%"` + n.E164() + `"%`, most(limit)},
		func(_ *Reader, row Scanner) (id masking.CallID, err error) { return id, row.Scan(&id) })
}

// ForwardsTo reads the index of numbers with a policy of their own that forwards.
func (r *Reader) ForwardsTo(ctx context.Context, tenant masking.TenantID, n e164.Number, limit int) ([]e164.Number, error) {
	return list(ctx, r, `SELECT number FROM virtual_number WHERE tenant = ? AND stranger_forward = ? AND stranger_forward <> ''
		ORDER BY number LIMIT ?`, []any{tenant, n.E164(), most(limit)},
		func(_ *Reader, row Scanner) (v e164.Number, err error) { return v, row.Scan(numberCol{&v}) })
}

// FindTraces goes along an index and looks into each row.
func (r *Reader) FindTraces(ctx context.Context, t store.Traces) (keys []string, next string, err error) {
	if err := r.c.Ordered(ctx); err != nil {
		return nil, "", err
	}
	text, args, err := tracesQuery(t)
	if err != nil {
		return nil, "", err
	}
	type row struct {
		key, place string
		holds      bool
	}
	rows, err := list(ctx, r, text, append(args, most(t.Scan)), func(_ *Reader, s Scanner) (one row, err error) {
		return one, s.Scan(&one.key, &one.place, &one.holds)
	})
	for _, one := range rows {
		if one.holds {
			keys = append(keys, one.key)
		}
	}
	if len(rows) > 0 && len(rows) == t.Scan {
		next = rows[len(rows)-1].place
	}
	return keys, next, err
}

// tracesQuery writes the query of a part: key, place and whether the row has the
// digits of the number somewhere.
func tracesQuery(t store.Traces) (text string, args []any, err error) {
	digits, until := `%`+t.Number.Digits()+`%`, millis(t.Until)
	switch t.Part {
	case masking.EraseAllocations:
		return `SELECT id, id, from_numbers || ' ' || to_numbers || ' ' || to_began || ' ' || to_answered || ' ' || from_began || ' ' ||
			from_answered || ' ' || custom_field LIKE ? FROM allocation
			WHERE tenant = ? AND id > ? AND created_at <= ? ORDER BY id LIMIT ?`, []any{digits, t.Tenant, t.After, until}, nil
	case masking.EraseCalls:
		started, id, _ := strings.Cut(t.After, " ")
		ms, _ := strconv.ParseInt(started, 10, 64) // no place is the first
		return `SELECT id, started_at || ' ' || id, caller || ' ' || callee || ' ' || attempts || ' ' || custom_field LIKE ? FROM call
			WHERE tenant = ? AND (started_at, id) > (?, ?) AND started_at <= ? ORDER BY started_at, id LIMIT ?`,
			[]any{digits, t.Tenant, ms, id, until}, nil
	case masking.EraseEvents:
		cursor, _ := strconv.ParseInt(t.After, 10, 64)
		return `SELECT CAST(cursor AS TEXT), CAST(cursor AS TEXT), data LIKE ? FROM event
			WHERE tenant = ? AND cursor > ? ORDER BY cursor LIMIT ?`, []any{digits, t.Tenant, cursor}, nil
	}
	return "", nil, fmt.Errorf("store: there are no traces in %q", t.Part)
}

// eraser is one EraseTraces at work.
type eraser struct {
	*Tx
	store.Traces
	now     time.Time
	done    masking.Removed
	waiting int
}

// EraseTraces takes the number out of rows.
func (t *Tx) EraseTraces(ctx context.Context, of store.Traces, keys []string, now time.Time) (masking.Removed, int, error) {
	e := &eraser{Tx: t, Traces: of, now: now}
	erase := map[masking.ErasurePart]func(context.Context, string) error{
		masking.EraseAllocations: e.allocation, masking.EraseCalls: e.call, masking.EraseEvents: e.event}[of.Part]
	if erase == nil {
		return e.done, 0, fmt.Errorf("store: there are no traces in %q", of.Part)
	}
	for _, key := range keys {
		if err := erase(ctx, key); err != nil && masking.KindOf(err) != masking.NotFound { // gone meanwhile
			return e.done, e.waiting, err
		}
	}
	return e.done, e.waiting, nil
}

// instead gives Erased for the number.
func (e *eraser) instead(n e164.Number) e164.Number {
	if n == e.Number {
		return e164.Erased()
	}
	return n
}

func (e *eraser) insteadOfAll(list []e164.Number) []e164.Number {
	out := slices.Clone(list)
	for i, n := range out {
		out[i] = e.instead(n)
	}
	return out
}

func (e *eraser) allocation(ctx context.Context, key string) error {
	a, err := e.Allocation(ctx, e.Tenant, masking.AllocationID(key))
	if err != nil {
		return err
	}
	ended := !a.EndedAt.IsZero()
	if !ended && slices.Contains(a.Parties(), e.Number) {
		if !a.ExpiresAt.After(e.now) {
			e.waiting++ // for its end to be written
		}
		return nil
	}
	custom := a.CustomField
	if ended {
		custom = e.Number.EraseFrom(custom)
	}
	n, err := e.exec(ctx, `UPDATE allocation SET from_numbers = ?, to_numbers = ?, to_began = ?, to_answered = ?, from_began = ?, from_answered = ?,
		custom_field = ? WHERE id = ? AND (from_numbers, to_numbers, to_began, to_answered, from_began, from_answered, custom_field) <> (?, ?, ?, ?, ?, ?, ?)`,
		slices.Concat(e.allocationTexts(a, custom), []any{key}, e.allocationTexts(a, custom))...)
	if err != nil || n == 0 {
		return err
	}
	e.done.Allocations++
	_, err = e.exec(ctx, `DELETE FROM party WHERE number = ? AND tenant = ? AND allocation = ?`, e.Number.E164(), e.Tenant, key)
	return err
}

// allocationTexts are the columns of an allocation that can hold a person's number.
func (e *eraser) allocationTexts(a masking.Allocation, custom string) []any {
	return []any{joinNumbers(e.insteadOfAll(a.From)), joinNumbers(e.insteadOfAll(a.To)), e.instead(a.ToTurn.Began).E164(), e.instead(a.ToTurn.Answered).E164(),
		e.instead(a.FromTurn.Began).E164(), e.instead(a.FromTurn.Answered).E164(), custom}
}

// settles is how long after its end a call's last messages may still come, and with
// them a new ladder (RFC 3261: 64*T1, and some).
const settles = time.Minute

func (e *eraser) call(ctx context.Context, key string) error {
	e.c.Lock(ForNoKeyUpdate, `call WHERE id = ? AND tenant = ?`, key, e.Tenant)
	c, err := e.Call(ctx, e.Tenant, masking.CallID(key))
	if err != nil {
		return err
	}
	party, erased := slices.Contains(c.People(), e.Number), c.Erase(e.Number)
	switch {
	case !party && erased.CustomField == c.CustomField:
		return nil
	case c.EndedAt.IsZero() || c.EndedAt.Add(settles).After(e.now):
		e.waiting++
		return nil
	case party:
		if waits, err := e.recording(ctx, c.ID); err != nil || waits {
			return err
		}
		if c.Ladder != nil {
			e.done.Ladders++
		}
	}
	attempts, err := attemptsText(erased.Attempts)
	if err != nil {
		return err
	}
	e.done.Calls++
	return exactlyOne(e.exec(ctx, `UPDATE call SET caller = ?, callee = ?, attempts = ?, custom_field = ?, ladder = ? WHERE id = ?`,
		erased.Caller.E164(), erased.Callee.E164(), attempts, erased.CustomField, blobOf(erased.Ladder), key))
}

// recording deletes what there is of a call's recording; waits tells that it cannot.
func (e *eraser) recording(ctx context.Context, call masking.CallID) (waits bool, err error) {
	g, err := e.Recording(ctx, e.Tenant, call)
	switch {
	case masking.KindOf(err) == masking.NotFound:
		return false, nil
	case err != nil:
		return false, err
	case g.Status == masking.RecordingRunning || (g.Status == masking.RecordingStored && g.Held):
		e.waiting++
		return true, nil
	case g.Status == masking.RecordingStored:
		g.Status, g.DeletedAt = masking.RecordingDeleted, e.now
		e.done.Recordings++
	}
	return false, exactlyOne(e.exec(ctx, `UPDATE recording SET status = ?, deleted_at = ?, peaks = ? WHERE call = ? AND tenant = ?`,
		g.Status, millis(g.DeletedAt), []byte{}, call, e.Tenant))
}

func (e *eraser) event(ctx context.Context, key string) error {
	var (
		call, allocation, data string
		at                     time.Time
	)
	cursor, err := strconv.ParseInt(key, 10, 64)
	if err != nil {
		return fmt.Errorf("store: an event has no key %q", key)
	}
	e.c.Lock(ForNoKeyUpdate, `event WHERE cursor = ? AND tenant = ?`, cursor, e.Tenant)
	err = e.row(ctx, `SELECT call, allocation, at, data FROM event WHERE cursor = ? AND tenant = ?`, []any{cursor, e.Tenant},
		&call, &allocation, timeCol{&at}, &data)
	if err != nil {
		return absent(err)
	}
	erased := string(masking.EraseFromJSON([]byte(data), e.Number))
	if erased == data {
		return nil
	}
	if at.After(e.Until) {
		if concerned, err := e.older(ctx, call, allocation); err != nil || !concerned {
			return err
		}
	}
	e.done.Events++
	return exactlyOne(e.exec(ctx, `UPDATE event SET data = ? WHERE cursor = ?`, erased, cursor))
}

// older tells whether a later event is about a call or an allocation that the
// erasure covers and that is over.
func (e *eraser) older(ctx context.Context, call, allocation string) (bool, error) {
	if call != "" {
		return e.found(ctx, `SELECT 1 FROM call WHERE id = ? AND started_at <= ? AND ended_at <> 0`, call, millis(e.Until))
	}
	return e.found(ctx, `SELECT 1 FROM allocation WHERE id = ? AND created_at <= ? AND ended_at <> 0`, allocation, millis(e.Until))
}

// ForgetNumber forgets the wrong PINs of a number, how fast it called, and what was
// noted of it.
func (t *Tx) ForgetNumber(ctx context.Context, tenant masking.TenantID, n e164.Number) (done masking.Removed, blocked bool, err error) {
	tries, err := t.exec(ctx, `DELETE FROM pin_try WHERE caller = ? AND virtual_number IN (SELECT number FROM virtual_number WHERE tenant = ?)
		AND NOT EXISTS (SELECT 1 FROM allocation a WHERE a.id = pin_try.allocation AND a.ended_at = 0)`, n.E164(), tenant)
	if err != nil {
		return done, false, err
	}
	done.PINTries = int(tries)
	if _, err = t.exec(ctx, `DELETE FROM pace WHERE tenant = ? AND subject = ?`, tenant, n.E164()); err != nil {
		return done, false, err
	}
	callers, err := t.BlockedCallers(ctx, tenant, "", 0)
	for _, c := range callers {
		blocked = blocked || c.Number == n
		note := n.EraseFrom(c.Note)
		if note == c.Note || err != nil {
			continue
		}
		c.Note = note
		err = t.BlockCaller(ctx, c)
	}
	return done, blocked, err
}

// ReplaysAfter are kept answers by key.
func (t *Tx) ReplaysAfter(ctx context.Context, tenant masking.TenantID, after string, limit int) ([]store.Replay, error) {
	t.c.Lock(ForNoKeyUpdate, `replay WHERE tenant = ? AND key > ? ORDER BY key LIMIT ?`, tenant, after, most(limit))
	return list(ctx, &t.Reader, `SELECT tenant, key, digest, status, body, created_at FROM replay WHERE tenant = ? AND key > ? ORDER BY key LIMIT ?`,
		[]any{tenant, after, most(limit)}, func(_ *Reader, row Scanner) (r store.Replay, err error) {
			return r, row.Scan(&r.Tenant, &r.Key, hashCol{&r.Digest}, &r.Status, &r.Body, timeCol{&r.CreatedAt})
		})
}

// RewriteReplay writes another body.
func (t *Tx) RewriteReplay(ctx context.Context, r store.Replay) error {
	return exactlyOne(t.exec(ctx, `UPDATE replay SET body = ? WHERE tenant = ? AND key = ?`, blob(r.Body), r.Tenant, r.Key))
}
