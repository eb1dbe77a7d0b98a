package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"tandem/internal/masking"
	"tandem/internal/store"
)

const callColumns = `k.id, k.tenant, k.allocation, k.virtual_number, k.caller, k.callee, k.direction, k.custom_field, k.node,
	k.started_at, k.answered_at, k.ended_at, k.ring_time, k.talk_time, k.cause, k.refusal, k.attempts, k.recorded, k.quality, k.last_known`

func scanCall(_ *Reader, row Scanner) (c masking.Call, err error) {
	return c, row.Scan(callDest(&c)...)
}

// callDest are the destinations of callColumns.
func callDest(c *masking.Call) []any {
	return []any{&c.ID, &c.Tenant, &c.Allocation, numberCol{&c.VirtualNumber}, numberCol{&c.Caller}, numberCol{&c.Callee},
		&c.Direction, &c.CustomField, &c.Node, timeCol{&c.StartedAt}, timeCol{&c.AnsweredAt}, timeCol{&c.EndedAt},
		durationCol{&c.RingTime}, durationCol{&c.TalkTime}, &c.Cause, &c.Refusal, attemptsCol{&c.Attempts}, &c.Recorded, qualityCol{&c.Quality}, &c.LastKnown}
}

// attempt is an element of call.attempts. It exists since masking.Attempt
// hides its number from JSON.
type attempt struct {
	Target   string        `json:"target,omitempty"`
	Trunk    string        `json:"trunk,omitempty"`
	Rang     bool          `json:"rang,omitempty"`
	Answered bool          `json:"answered,omitempty"`
	Status   int           `json:"status,omitempty"`
	Cause    masking.Cause `json:"cause,omitempty"`
	Ring     int64         `json:"ring_ms,omitempty"`
}

func attemptsText(list []masking.Attempt) (string, error) {
	if len(list) == 0 {
		return "[]", nil
	}
	rows := make([]attempt, len(list))
	for i, a := range list {
		rows[i] = attempt{Target: a.Target.E164(), Trunk: a.Trunk, Rang: a.Rang, Answered: a.Answered,
			Status: a.Status, Cause: a.Cause, Ring: a.Ring.Milliseconds()}
	}
	b, err := json.Marshal(rows)
	if err != nil {
		return "", errors.New("store: attempts cannot be written")
	}
	return string(b), nil
}

// attemptsCol scans call.attempts.
type attemptsCol struct{ to *[]masking.Attempt }

func (c attemptsCol) Scan(src any) error {
	s, err := textOf(src, "attempts")
	if err != nil {
		return err
	}
	*c.to = nil
	if s == "[]" {
		return nil
	}
	var rows []attempt
	if err := json.Unmarshal([]byte(s), &rows); err != nil {
		return corrupt("attempts")
	}
	for _, a := range rows {
		v := masking.Attempt{Trunk: a.Trunk, Rang: a.Rang, Answered: a.Answered, Status: a.Status, Cause: a.Cause}
		if err := (numberCol{&v.Target}).Scan(a.Target); err != nil {
			return err
		}
		if err := (durationCol{&v.Ring}).Scan(a.Ring); err != nil {
			return err
		}
		*c.to = append(*c.to, v)
	}
	return nil
}

// quality is call.quality, with durations in microseconds.
type quality struct {
	Caller legQuality `json:"caller,omitzero"`
	Callee legQuality `json:"callee,omitzero"`
}

type legQuality struct {
	Received   uint64 `json:"received,omitempty"`
	Sent       uint64 `json:"sent,omitempty"`
	Lost       uint64 `json:"lost,omitempty"`
	Strays     uint64 `json:"strays,omitempty"`
	Jitter     int64  `json:"jitter,omitempty"`
	RoundTrip  int64  `json:"round_trip,omitempty"`
	Reported   bool   `json:"reported,omitempty"`
	PeerLost   uint64 `json:"peer_lost,omitempty"`
	PeerJitter int64  `json:"peer_jitter,omitempty"`
}

func qualityText(q masking.Quality) string {
	if q == (masking.Quality{}) {
		return ""
	}
	leg := func(q masking.LegQuality) legQuality {
		return legQuality{Received: q.Received, Sent: q.Sent, Lost: q.Lost, Strays: q.Strays, Jitter: q.Jitter.Microseconds(),
			RoundTrip: q.RoundTrip.Microseconds(), Reported: q.Reported, PeerLost: q.PeerLost, PeerJitter: q.PeerJitter.Microseconds()}
	}
	b, _ := json.Marshal(quality{leg(q.Caller), leg(q.Callee)}) // numbers can always be written
	return string(b)
}

// qualityCol scans call.quality.
type qualityCol struct{ to *masking.Quality }

func (c qualityCol) Scan(src any) error {
	s, err := textOf(src, "quality")
	if err != nil {
		return err
	}
	*c.to = masking.Quality{}
	if s == "" {
		return nil
	}
	var q quality
	if err := json.Unmarshal([]byte(s), &q); err != nil {
		return corrupt("quality")
	}
	leg := func(q legQuality) masking.LegQuality {
		return masking.LegQuality{Received: q.Received, Sent: q.Sent, Lost: q.Lost, Strays: q.Strays, Jitter: micros(q.Jitter),
			RoundTrip: micros(q.RoundTrip), Reported: q.Reported, PeerLost: q.PeerLost, PeerJitter: micros(q.PeerJitter)}
	}
	*c.to = masking.Quality{Caller: leg(q.Caller), Callee: leg(q.Callee)}
	return nil
}

func micros(n int64) time.Duration { return time.Duration(n) * time.Microsecond }

// Call reads one call of the tenant.
func (r *Reader) Call(ctx context.Context, tenant masking.TenantID, id masking.CallID) (masking.Call, error) {
	return r.oneCall(ctx, `k.id = ? AND k.tenant = ?`, id, tenant)
}

// AnyCall reads one call, whosever it is.
func (r *Reader) AnyCall(ctx context.Context, id masking.CallID) (masking.Call, error) {
	return r.oneCall(ctx, `k.id = ?`, id)
}

func (r *Reader) oneCall(ctx context.Context, where string, args ...any) (c masking.Call, err error) {
	err = r.row(ctx, `SELECT `+callColumns+`, k.ladder FROM call k WHERE `+where, args, append(callDest(&c), &c.Ladder)...)
	if len(c.Ladder) == 0 {
		c.Ladder = nil
	}
	return c, absent(err)
}

// Calls are a page of a list, by start, newest first. A cursor that names no
// call, or that of another tenant, has no page after it: what retention has removed was the oldest.
func (r *Reader) Calls(ctx context.Context, f store.CallFilter) ([]masking.Call, error) {
	if (f.Tenant == "") != f.AllTenants {
		return nil, errWhose
	}
	var before time.Time
	if f.Before != "" {
		err := r.row(ctx, `SELECT started_at FROM call WHERE id = ? AND (? = '' OR tenant = ?)`,
			[]any{f.Before, f.Tenant, f.Tenant}, timeCol{&before})
		if errors.Is(err, sql.ErrNoRows) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
	}
	text, args := callQuery(f, before)
	return list(ctx, r, text, args, scanCall)
}

// errWhose refuses a list that does not say whose it is: forgotten, it must not be
// everybody's.
var errWhose = errors.New("store: a list is of one tenant, or of all by name")

// callQuery writes the query of a list so that one index gives its rows in
// order from the cursor on: of the allocation, of those up, or of the tenant. Calls of
// a party come by two, each read no further than the page.
func callQuery(f store.CallFilter, before time.Time) (text string, args []any) {
	const order = ` ORDER BY k.started_at DESC, k.id DESC LIMIT ?`
	where, values := callWhere(f, before)
	if f.Party.IsZero() {
		return `SELECT ` + callColumns + ` FROM call k WHERE 1 = 1` + where + order, append(values, most(f.Limit))
	}
	var sides []string
	for _, side := range []string{"caller", "callee"} {
		sides = append(sides, `SELECT s.id FROM (SELECT k.id FROM call k WHERE k.`+side+` = ? AND k.`+side+` <> ''`+where+order+`) s`)
		args = append(append(append(args, f.Party.E164()), values...), most(f.Limit))
	}
	return `SELECT ` + callColumns + ` FROM call k WHERE k.id IN (` + strings.Join(sides, ` UNION ALL `) + `)` + order, append(args, most(f.Limit))
}

// callWhere writes what narrows a list, but for a party.
func callWhere(f store.CallFilter, before time.Time) (text string, args []any) {
	and := func(condition string, values ...any) { text, args = text+` AND `+condition, append(args, values...) }
	if f.Tenant != "" {
		and(`k.tenant = ?`, f.Tenant)
	}
	if f.Allocation != "" {
		and(`k.allocation = ?`, f.Allocation)
	}
	switch f.Status {
	case "live":
		and(`k.ended_at = 0`)
	case "ended":
		and(`k.ended_at <> 0`)
	}
	if !f.Since.IsZero() {
		and(`k.started_at >= ?`, millis(f.Since))
	}
	if !f.Until.IsZero() {
		and(`k.started_at < ?`, millis(f.Until))
	}
	if f.Cause != "" {
		and(`k.cause = ?`, f.Cause)
	}
	if f.Direction != "" {
		and(`k.direction = ?`, f.Direction)
	}
	if !f.VirtualNumber.IsZero() {
		and(`k.virtual_number = ?`, f.VirtualNumber.E164())
	}
	if f.Answered != nil {
		and(`(CASE WHEN k.answered_at <> 0 THEN 1 ELSE 0 END) = ?`, *f.Answered)
	}
	if f.Recorded != nil {
		and(`k.recorded = ?`, *f.Recorded)
	}
	if f.Before != "" {
		and(`(k.started_at, k.id) < (?, ?)`, millis(before), f.Before)
	}
	return text, args
}

// isUp says in statements about calls by their keys that they have no end. It is written
// so that no planner reads an index of the calls that are up in place of the key: they
// may have been few when it counted them, and be thousands.
const isUp = `ended_at + 0 = 0`

// OpenCalls are calls of a node without an end: an index has them in their order, and
// no others.
func (r *Reader) OpenCalls(ctx context.Context, node string, limit int) ([]masking.Call, error) {
	return list(ctx, r, `SELECT `+callColumns+` FROM call k WHERE k.ended_at = 0 AND k.node = ?
		ORDER BY k.started_at, k.id LIMIT ?`, []any{node, most(limit)}, scanCall)
}

// OwnCalls asks for each call by its key.
func (r *Reader) OwnCalls(ctx context.Context, node string, ids []masking.CallID) ([]masking.CallID, error) {
	return r.callsThat(ctx, `k.node = ? AND `+isUp, node, ids, true)
}

// MovedCalls asks for each call by its key.
func (r *Reader) MovedCalls(ctx context.Context, node string, ids []masking.CallID) ([]masking.CallID, error) {
	return r.callsThat(ctx, `k.node <> ?`, node, ids, false)
}

// callsThat are those of the given calls that stand so to a node; hold locks them all.
func (r *Reader) callsThat(ctx context.Context, stand, node string, ids []masking.CallID, hold bool) (those []masking.CallID, err error) {
	for part := range slices.Chunk(ids, idsAtOnce) {
		args := []any{node}
		for _, id := range part {
			args = append(args, id)
		}
		if hold {
			r.c.Lock(ForUpdate, `call WHERE id IN (`+marks(len(part))+`) ORDER BY id`, args[1:]...)
		}
		found, err := list(ctx, r, `SELECT k.id FROM call k WHERE `+stand+` AND k.id IN (`+marks(len(part))+`)`, args,
			func(_ *Reader, s Scanner) (id masking.CallID, err error) { return id, s.Scan(&id) })
		if err != nil {
			return nil, err
		}
		those = append(those, found...)
	}
	return those, nil
}

// idsAtOnce is how many ids one statement asks for.
const idsAtOnce = 200

// CallStates are what was kept of calls that are up, each by its key.
func (r *Reader) CallStates(ctx context.Context, ids []masking.CallID) (map[masking.CallID][]byte, error) {
	type row struct {
		call  masking.CallID
		state []byte
	}
	states := make(map[masking.CallID][]byte, len(ids))
	for part := range slices.Chunk(ids, idsAtOnce) {
		var args []any
		for _, id := range part {
			args = append(args, id)
		}
		rows, err := list(ctx, r, `SELECT s.call, s.data FROM call k JOIN call_state s ON s.call = k.id
			WHERE `+isUp+` AND k.id IN (`+marks(len(part))+`)`, args, func(_ *Reader, s Scanner) (one row, err error) {
			return one, s.Scan(&one.call, blobCol{&one.state})
		})
		if err != nil {
			return nil, err
		}
		for _, one := range rows {
			states[one.call] = one.state
		}
	}
	return states, nil
}

// KeepCallState keeps the state of a call that talks. The call is locked, so that its end
// removes the state, or comes before and lets none be kept.
func (t *Tx) KeepCallState(ctx context.Context, c masking.Call, state []byte) (kept bool, err error) {
	t.c.Lock(ForNoKeyUpdate, `call WHERE id = ?`, c.ID)
	n, err := t.exec(ctx, `INSERT INTO call_state (call, data)
		SELECT k.id, ? FROM call k WHERE k.id = ? AND k.tenant = ? AND k.node = ? AND k.answered_at <> 0 AND `+isUp+`
		ON CONFLICT (call) DO UPDATE SET data = excluded.data`, state, c.ID, c.Tenant, c.Node)
	return n > 0, err
}

// MoveCall makes a call one of another node.
func (t *Tx) MoveCall(ctx context.Context, c masking.Call, to string) (moved bool, err error) {
	n, err := t.exec(ctx, `UPDATE call SET node = ? WHERE id = ? AND tenant = ? AND node = ? AND `+isUp, to, c.ID, c.Tenant, c.Node)
	if err != nil || n == 0 {
		return false, err
	}
	// One that the release before has begun names no node.
	_, err = t.exec(ctx, `UPDATE recording SET node = ? WHERE call = ? AND status = 'recording' AND node = ''`, c.Node, c.ID)
	return err == nil, err
}

// BeginCall writes the record of a new call and counts it.
func (t *Tx) BeginCall(ctx context.Context, c masking.Call) (fresh bool, err error) {
	attempts, err := attemptsText(c.Attempts)
	if err != nil {
		return false, err
	}
	n, err := t.exec(ctx, `INSERT INTO call (id, tenant, allocation, virtual_number, caller, callee, direction, custom_field, node,
		started_at, answered_at, ended_at, ring_time, talk_time, cause, refusal, attempts, recorded, quality, ladder, last_known)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING`,
		c.ID, c.Tenant, c.Allocation, c.VirtualNumber.E164(), c.Caller.E164(), c.Callee.E164(), c.Direction, c.CustomField, c.Node,
		millis(c.StartedAt), millis(c.AnsweredAt), millis(c.EndedAt), c.RingTime.Milliseconds(), c.TalkTime.Milliseconds(),
		c.Cause, c.Refusal, attempts, c.Recorded, qualityText(c.Quality), blobOf(c.Ladder), c.LastKnown)
	if err != nil {
		return false, inserted("a call with this id", err)
	}
	if n == 0 || c.Allocation == "" {
		return n == 1, nil
	}
	return true, t.countCall(ctx, c)
}

// countCall counts a call in its allocation, and notes whom it is to ring first.
func (t *Tx) countCall(ctx context.Context, c masking.Call) error {
	text, args := `UPDATE allocation SET calls = calls + 1`, []any(nil)
	if !c.Callee.IsZero() {
		text, args = text+`, `+rungSide(c.Direction)+`_began = ?`, append(args, c.Callee.E164())
	}
	if c.Day != 0 && c.Refusal == "" { // one that is written late may be of a day before
		text += `, day_calls = CASE WHEN day = ? THEN day_calls + 1 WHEN day < ? THEN 1 ELSE day_calls END,
			day_talk_seconds = CASE WHEN day < ? THEN 0 ELSE day_talk_seconds END, day = CASE WHEN day < ? THEN ? ELSE day END`
		args = append(args, c.Day, c.Day, c.Day, c.Day, c.Day)
	}
	_, err := t.exec(ctx, text+` WHERE id = ?`, append(args, c.Allocation)...)
	return err
}

// rungSide begins the names of the columns about the side that a direction leads to.
func rungSide(d masking.Direction) string {
	if d == masking.ToCalls {
		return "from"
	}
	return "to"
}

// MatchCall gives a call without an allocation the one whose PIN was entered, and
// counts it there.
func (t *Tx) MatchCall(ctx context.Context, c masking.Call) (changed bool, err error) {
	if c.Allocation == "" {
		return false, t.checkCall(ctx, c)
	}
	n, err := t.exec(ctx, `UPDATE call SET allocation = ?, direction = ?, custom_field = ?
		WHERE id = ? AND tenant = ? AND allocation = '' AND `+isUp,
		c.Allocation, c.Direction, c.CustomField, c.ID, c.Tenant)
	if err != nil {
		return false, err
	}
	if n == 0 {
		return false, t.checkCall(ctx, c)
	}
	return true, t.countCall(ctx, c)
}

// AnswerCall writes the answer of a call, once.
func (t *Tx) AnswerCall(ctx context.Context, c masking.Call) (changed bool, err error) {
	attempts, err := attemptsText(c.Attempts)
	if err != nil {
		return false, err
	}
	var allocation masking.AllocationID
	err = t.row(ctx, `UPDATE call SET callee = ?, direction = ?, answered_at = ?, ring_time = ?, attempts = ?,
		recorded = recorded | ? WHERE id = ? AND tenant = ? AND answered_at = 0 AND `+isUp+` RETURNING allocation`,
		[]any{c.Callee.E164(), c.Direction, millis(c.AnsweredAt), c.RingTime.Milliseconds(), attempts,
			c.Recorded, c.ID, c.Tenant}, &allocation)
	if errors.Is(err, sql.ErrNoRows) {
		return false, t.checkCall(ctx, c)
	}
	if err != nil || allocation == "" {
		return err == nil, err
	}
	_, err = t.exec(ctx, `UPDATE allocation SET connected = connected + 1, `+rungSide(c.Direction)+`_answered = ? WHERE id = ?`,
		c.Callee.E164(), allocation)
	return err == nil, err
}

// EndCall writes the end of a call, once. An answer that the record does not
// have yet (the store was away when it came) is written and counted with it.
func (t *Tx) EndCall(ctx context.Context, c masking.Call) (changed bool, err error) {
	allocation, err := t.writeEnd(ctx, c)
	if errors.Is(err, sql.ErrNoRows) && !c.AnsweredAt.IsZero() {
		if answered, err := t.AnswerCall(ctx, c); err != nil || !answered {
			return false, err
		}
		allocation, err = t.writeEnd(ctx, c)
	}
	if errors.Is(err, sql.ErrNoRows) {
		return false, t.checkCall(ctx, c)
	}
	if err == nil && !c.AnsweredAt.IsZero() {
		_, err = t.exec(ctx, `DELETE FROM call_state WHERE call = ?`, c.ID)
	}
	seconds := int64(c.TalkTime / time.Second)
	if err != nil || allocation == "" || seconds == 0 {
		return err == nil, err
	}
	_, err = t.exec(ctx, `UPDATE allocation SET talk_seconds = talk_seconds + ?,
		day_talk_seconds = CASE WHEN day <> 0 AND day = ? THEN day_talk_seconds + ? ELSE day_talk_seconds END WHERE id = ?`,
		seconds, c.Day, seconds, allocation)
	return err == nil, err
}

// writeEnd writes the end into a record without one, unless c was answered and
// the record does not know it: sql.ErrNoRows.
func (t *Tx) writeEnd(ctx context.Context, c masking.Call) (allocation masking.AllocationID, err error) {
	attempts, err := attemptsText(c.Attempts)
	if err != nil {
		return "", err
	}
	err = t.row(ctx, `UPDATE call SET callee = ?, direction = ?, ended_at = ?, ring_time = ?, talk_time = ?, cause = ?, refusal = ?, attempts = ?,
		recorded = recorded | ?, quality = ?, ladder = ? WHERE id = ? AND tenant = ? AND node = ? AND `+isUp+`
		AND (answered_at <> 0 OR CAST(? AS BIGINT) = 0) RETURNING allocation`,
		[]any{c.Callee.E164(), c.Direction, millis(c.EndedAt), c.RingTime.Milliseconds(), c.TalkTime.Milliseconds(),
			c.Cause, c.Refusal, attempts, c.Recorded, qualityText(c.Quality), blobOf(c.Ladder), c.ID, c.Tenant, c.Node, millis(c.AnsweredAt)}, &allocation)
	return allocation, err
}

// WriteLadder writes the ladder of a call that has a record, unless it went with the
// number of one of its people.
func (t *Tx) WriteLadder(ctx context.Context, node string, id masking.CallID, ladder []byte) error {
	_, err := t.exec(ctx, `UPDATE call SET ladder = ? WHERE id = ? AND node = ?
		AND NOT (caller = 'erased' OR callee = 'erased' OR attempts LIKE '%"erased"%')`, blobOf(ladder), id, node)
	return err
}

// blobOf writes nothing as an empty blob, which is not NULL.
func blobOf(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// checkCall tells a call that has no record from one with nothing to change.
func (t *Tx) checkCall(ctx context.Context, c masking.Call) error {
	found, err := t.found(ctx, `SELECT 1 FROM call WHERE id = ? AND tenant = ?`, c.ID, c.Tenant)
	if err == nil && !found {
		return masking.ErrNotFound()
	}
	return err
}

// AppendEvent writes an event to the outbox, once.
func (t *Tx) AppendEvent(ctx context.Context, e masking.Event) error {
	t.c.Wrote(store.TopicEvents)
	_, err := t.exec(ctx, `INSERT INTO event (id, type, tenant, allocation, call, at, reached, data)
		VALUES (?, ?, ?, ?, ?, ?, (SELECT MAX(r.at) FROM (SELECT CAST(? AS BIGINT) AS at UNION ALL SELECT MAX(reached) FROM event WHERE tenant = ?) r), ?)
		ON CONFLICT (id) DO NOTHING`,
		e.ID, e.Type, e.Tenant, e.Allocation, e.Call, millis(e.At), millis(e.At), e.Tenant, string(e.Data))
	return inserted("an event", err)
}

// Events are a page of the outbox, oldest first.
func (r *Reader) Events(ctx context.Context, f store.EventFilter) ([]store.StoredEvent, error) {
	if err := r.c.Ordered(ctx); err != nil {
		return nil, err
	}
	if (f.Tenant == "") != f.AllTenants {
		return nil, errWhose
	}
	text, args := eventQuery(f)
	return list(ctx, r, text, args, scanEvent)
}

// LastEvent is the greatest cursor.
func (r *Reader) LastEvent(ctx context.Context) (cursor int64, err error) {
	if err := r.c.Ordered(ctx); err != nil {
		return 0, err
	}
	return cursor, r.row(ctx, `SELECT COALESCE(MAX(cursor), 0) FROM event`, nil, &cursor)
}

// eventQuery writes the query of a page so that an index gives its rows in order
// from the cursor, or from the time asked for, on.
func eventQuery(f store.EventFilter) (text string, args []any) {
	text = `SELECT e.cursor, e.id, e.type, e.tenant, e.allocation, e.call, e.at, e.data FROM event e WHERE 1 = 1`
	and := func(condition string, values ...any) { text, args = text+` AND `+condition, append(args, values...) }
	if f.Tenant != "" {
		and(`e.tenant = ?`, f.Tenant)
	}
	if f.Tenant == "" || f.Since.IsZero() {
		and(`e.cursor > ?`, f.After)
	} else {
		// No event before the first that reached since is as late; where none
		// reached it, the bound is NULL and nothing is above it.
		and(`e.cursor > ? AND e.cursor >= (SELECT s.cursor FROM event s WHERE s.tenant = ? AND s.reached >= ?
			ORDER BY s.reached, s.cursor LIMIT 1)`, f.After, f.Tenant, millis(f.Since))
	}
	if !f.Since.IsZero() {
		and(`e.at >= ?`, millis(f.Since))
	}
	if !f.Until.IsZero() {
		and(`e.at < ?`, millis(f.Until))
	}
	return text + ` ORDER BY e.cursor LIMIT ?`, append(args, most(f.Limit))
}

func scanEvent(_ *Reader, row Scanner) (e store.StoredEvent, err error) {
	err = row.Scan(&e.Cursor, &e.ID, &e.Type, &e.Tenant, &e.Allocation, &e.Call, timeCol{&e.At}, dataCol{&e.Data})
	return e, err
}

// dataCol scans a JSON object.
type dataCol struct{ to *json.RawMessage }

func (c dataCol) Scan(src any) error {
	s, err := textOf(src, "event data")
	if err != nil {
		return err
	}
	if !json.Valid([]byte(s)) {
		return corrupt("event data")
	}
	*c.to = json.RawMessage(s)
	return nil
}
