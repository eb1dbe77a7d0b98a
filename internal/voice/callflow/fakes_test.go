package callflow

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/store"
)

var (
	alice    = e164.MustParse("+919812345671")
	bob      = e164.MustParse("+919812345682")
	carol    = e164.MustParse("+919812345693")
	stranger = e164.MustParse("+919812345604")
	virtual  = e164.MustParse("+914012345615")
	oneway   = e164.MustParse("+914012345626")
	nobodys  = e164.MustParse("+914012345637")
	pinned   = e164.MustParse("+914012345648")
	support  = e164.MustParse("+919812345615")
	hidden   e164.Number // of a caller who withholds his
	parties  = []e164.Number{alice, bob, carol, stranger, virtual, oneway, nobodys, pinned, support}
)

var errAway = errors.New("the database is away")

func kolkata(t testing.TB) *time.Location {
	t.Helper()
	zone, err := time.LoadLocation(masking.DefaultZoneName)
	if err != nil {
		t.Fatal(err)
	}
	return zone
}

// memory is a store of what callflow writes, which can be made to fail. What an
// Update did before its error is undone.
type memory struct {
	mu       sync.Mutex
	rows     rows
	routes   map[[2]string]masking.Route
	pins     map[pinKey]masking.Allocation      // what a PIN opens
	stands   map[[2]string][]masking.Allocation // with a PIN, by number and party
	away     bool                               // nothing works
	full     bool                               // reading works, writing does not
	hang     bool                               // Update waits for its context
	forgets  int                                // so many Updates are durable and say that they failed
	again    int                                // so many Updates run what they are given twice
	tapeless error                              // why no recording can be begun
	poison   map[masking.CallID]error
	batches  []int // entries of each Update
	readying int
}

type pinKey struct {
	virtual e164.Number
	pin     masking.PIN
}

type rows struct {
	calls      map[masking.CallID]masking.Call
	counted    map[masking.AllocationID]masking.Tally
	tries      map[masking.TriesOf]masking.Tries
	recordings map[masking.CallID]masking.Recording
	log        []string // what was written, in order
	events     []masking.Event
	told       map[masking.EventID]bool    // those of events
	states     map[masking.CallID][]string // of calls, as they were written
}

func (r rows) clone() rows {
	return rows{calls: maps.Clone(r.calls), counted: maps.Clone(r.counted), tries: maps.Clone(r.tries),
		recordings: maps.Clone(r.recordings), log: slices.Clone(r.log), events: slices.Clone(r.events), told: maps.Clone(r.told),
		states: maps.Clone(r.states)}
}

func newMemory() *memory {
	return &memory{rows: rows{calls: map[masking.CallID]masking.Call{}, counted: map[masking.AllocationID]masking.Tally{},
		tries: map[masking.TriesOf]masking.Tries{}, recordings: map[masking.CallID]masking.Recording{}, told: map[masking.EventID]bool{},
		states: map[masking.CallID][]string{}},
		pins: map[pinKey]masking.Allocation{}, stands: map[[2]string][]masking.Allocation{}, poison: map[masking.CallID]error{}}
}

func (m *memory) set(change func(*memory)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change(m)
}

func (m *memory) View(ctx context.Context, fn func(context.Context, store.Reader) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.away {
		return errAway
	}
	return fn(ctx, &memoryTx{m: m, rows: &m.rows})
}

func (m *memory) Update(ctx context.Context, fn func(context.Context, store.Tx) error) error {
	m.mu.Lock()
	if m.hang {
		m.mu.Unlock()
		<-ctx.Done()
		return ctx.Err()
	}
	defer m.mu.Unlock()
	if m.away || m.full {
		return errAway
	}
	if m.again > 0 { // a serialization failure is retried: nothing of the first run remains
		m.again--
		lost := m.rows.clone()
		_ = fn(ctx, &memoryTx{m: m, rows: &lost})
	}
	next := m.rows.clone()
	tx := &memoryTx{m: m, rows: &next}
	err := fn(ctx, tx)
	m.batches = append(m.batches, tx.writes)
	if err != nil {
		return err
	}
	m.rows = next
	if m.forgets > 0 {
		m.forgets--
		return errAway
	}
	return nil
}

func (m *memory) Route(ctx context.Context, called, caller e164.Number) (r masking.Route, err error) {
	err = m.View(ctx, func(ctx context.Context, tx store.Reader) error {
		r, err = tx.Route(ctx, called, caller)
		return err
	})
	return r, err
}

func (m *memory) Scrub(context.Context) error { return nil }

func (m *memory) Ready(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.readying++
	if m.away {
		return errAway
	}
	return ctx.Err()
}

func (m *memory) Close() error { return nil }

// written is what has been written of a call, in order; of all with "".
func (m *memory) written(id masking.CallID) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var of []string
	for _, l := range m.rows.log {
		call, what, _ := strings.Cut(l, " ")
		switch {
		case id == "":
			of = append(of, l)
		case call == string(id):
			of = append(of, what)
		}
	}
	return strings.Join(of, ", ")
}

// memoryTx is one transaction. What callflow does not use is not there.
type memoryTx struct {
	store.Tx
	m      *memory
	rows   *rows
	writes int
}

// LockAllocations has nobody to lock out.
func (*memoryTx) LockAllocations([]masking.AllocationID) {}

func (tx *memoryTx) write(id masking.CallID, what string) error {
	tx.writes++
	if err := tx.m.poison[id]; err != nil {
		return err
	}
	tx.rows.log = append(tx.rows.log, string(id)+" "+what)
	return nil
}

// NumberHealth knows no numbers.
func (tx *memoryTx) NumberHealth(context.Context, masking.TenantID, e164.Number) (masking.NumberHealth, error) {
	return masking.NumberHealth{}, masking.ErrNotFound()
}

func (tx *memoryTx) BeginCall(_ context.Context, c masking.Call) (bool, error) {
	if _, there := tx.rows.calls[c.ID]; there {
		return false, nil
	}
	if err := tx.write(c.ID, "began"); err != nil {
		return false, err
	}
	tx.rows.calls[c.ID] = c
	tx.count(c.Allocation, masking.Tally{Calls: 1})
	return true, nil
}

// count adds to an allocation's tally.
func (tx *memoryTx) count(id masking.AllocationID, more masking.Tally) {
	if id == "" {
		return
	}
	t := tx.rows.counted[id]
	tx.rows.counted[id] = masking.Tally{Calls: t.Calls + more.Calls, Connected: t.Connected + more.Connected, TalkSeconds: t.TalkSeconds + more.TalkSeconds}
}

func (tx *memoryTx) MatchCall(_ context.Context, c masking.Call) (bool, error) {
	have, there := tx.rows.calls[c.ID]
	if !there {
		return false, masking.ErrNotFound()
	}
	if c.Allocation == "" || have.Allocation != "" || !have.EndedAt.IsZero() {
		return false, nil
	}
	have.Allocation, have.Direction, have.CustomField = c.Allocation, c.Direction, c.CustomField
	tx.rows.calls[c.ID] = have
	tx.count(c.Allocation, masking.Tally{Calls: 1})
	return true, tx.write(c.ID, "matched")
}

func (tx *memoryTx) AnswerCall(_ context.Context, c masking.Call) (bool, error) {
	have, there := tx.rows.calls[c.ID]
	if !there {
		return false, masking.ErrNotFound()
	}
	if !have.AnsweredAt.IsZero() || !have.EndedAt.IsZero() {
		return false, nil
	}
	c.Allocation = have.Allocation
	tx.rows.calls[c.ID] = c
	tx.count(c.Allocation, masking.Tally{Connected: 1})
	return true, tx.write(c.ID, "answered")
}

func (tx *memoryTx) EndCall(_ context.Context, c masking.Call) (bool, error) {
	have, there := tx.rows.calls[c.ID]
	if !there {
		return false, masking.ErrNotFound()
	}
	if !have.EndedAt.IsZero() {
		return false, nil
	}
	if have.AnsweredAt.IsZero() && !c.AnsweredAt.IsZero() {
		tx.count(have.Allocation, masking.Tally{Connected: 1})
	}
	c.Allocation, c.Recorded = have.Allocation, have.Recorded || c.Recorded
	tx.rows.calls[c.ID] = c
	tx.count(c.Allocation, masking.Tally{TalkSeconds: int64(c.TalkTime / time.Second)})
	return true, tx.write(c.ID, "ended")
}

func (tx *memoryTx) OwnCalls(_ context.Context, node string, ids []masking.CallID) (own []masking.CallID, err error) {
	for _, id := range ids {
		if c, there := tx.rows.calls[id]; there && c.Node == node && c.EndedAt.IsZero() {
			own = append(own, id)
		}
	}
	return own, nil
}

func (tx *memoryTx) WriteLadder(_ context.Context, _ string, id masking.CallID, ladder []byte) error {
	if c, there := tx.rows.calls[id]; there {
		c.Ladder = ladder
		tx.rows.calls[id] = c
	}
	return tx.write(id, "ladder")
}

func (tx *memoryTx) Call(_ context.Context, tenant masking.TenantID, id masking.CallID) (masking.Call, error) {
	if c, there := tx.rows.calls[id]; there && c.Tenant == tenant {
		return c, nil
	}
	return masking.Call{}, masking.ErrNotFound()
}

func (tx *memoryTx) AppendEvent(_ context.Context, e masking.Event) error {
	if tx.rows.told[e.ID] {
		return nil
	}
	tx.rows.told[e.ID] = true
	tx.rows.events = append(tx.rows.events, e)
	return tx.write(e.Call, string(e.Type))
}

func (tx *memoryTx) Tenant(_ context.Context, id masking.TenantID) (masking.Tenant, error) {
	for _, r := range tx.m.routes {
		if r.Tenant.ID == id {
			return r.Tenant, nil
		}
	}
	return masking.Tenant{}, masking.ErrNotFound()
}

func (tx *memoryTx) Route(_ context.Context, called, caller e164.Number) (masking.Route, error) {
	if r, ok := tx.m.routes[[2]string{called.E164(), caller.E164()}]; ok {
		return r, nil
	}
	if r, ok := tx.m.routes[[2]string{called.E164(), ""}]; ok {
		return r, nil
	}
	return masking.Route{}, masking.ErrNotFound()
}

func (tx *memoryTx) Silent(context.Context, e164.Number, e164.Number, time.Time) (masking.Allocation, bool, error) {
	return masking.Allocation{}, false, nil
}

func (tx *memoryTx) KeepCallState(_ context.Context, c masking.Call, state []byte) (bool, error) {
	tx.rows.states[c.ID] = append(slices.Clone(tx.rows.states[c.ID]), string(state))
	return true, tx.write(c.ID, "kept")
}
