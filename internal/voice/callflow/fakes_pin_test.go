package callflow

import (
	"context"
	"maps"
	"slices"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
)

// This file is what the memory store does with PINs and recordings, and a tenant's
// server.

// carry puts allocations with PINs on a number of acme's.
func (m *memory) carry(virtual e164.Number, list ...masking.Allocation) {
	if m.routes == nil {
		m.routes = map[[2]string]masking.Route{}
	}
	m.routes[[2]string{virtual.E164(), ""}] = masking.Route{
		Tenant: masking.Tenant{ID: "acme", Settings: masking.DefaultSettings(time.UTC)},
		Number: masking.VirtualNumber{Number: virtual, Tenant: "acme"}, PINs: len(list) > 0}
	for _, a := range list {
		for _, p := range a.PINs() {
			m.pins[pinKey{virtual, p}] = a
		}
		for _, n := range a.Parties() {
			m.stands[[2]string{virtual.E164(), n.E164()}] = append(m.stands[[2]string{virtual.E164(), n.E164()}], a)
		}
	}
}

func (tx *memoryTx) PINCase(_ context.Context, virtual, caller e164.Number, pin masking.PIN, now time.Time) (c masking.PINCase, err error) {
	r, there := tx.m.routes[[2]string{virtual.E164(), ""}]
	if !there {
		return c, masking.ErrNotFound()
	}
	c.Route = r
	if a, there := tx.m.pins[pinKey{virtual, pin}]; there {
		c.Found = []masking.Allocation{a}
	}
	for _, a := range tx.m.stands[[2]string{virtual.E164(), caller.E164()}] {
		if a.Status(now) != masking.Active {
			continue
		}
		most := a.MaxPINAttempts
		if a.Product() == masking.GreenVN {
			most = masking.DefaultPINAttempts
		}
		c.Party = append(c.Party, masking.PartyTries{Allocation: a.ID, Most: most,
			Tries: tx.rows.tries[masking.TriesOf{VirtualNumber: virtual, Allocation: a.ID, Caller: caller}]})
	}
	if len(c.Party) == 0 {
		c.Other = tx.rows.tries[masking.TriesOf{VirtualNumber: virtual, Caller: caller}]
	}
	return c, nil
}

func (tx *memoryTx) PINLengths(_ context.Context, virtual e164.Number, now time.Time) ([]int, error) {
	lengths := map[int]bool{}
	for k, a := range tx.m.pins {
		if k.virtual == virtual && now.Before(a.ExpiresAt) {
			lengths[len(k.pin)] = true
		}
	}
	return slices.Sorted(maps.Keys(lengths)), nil
}

func (tx *memoryTx) CountWrong(_ context.Context, whose []masking.TriesOf, now time.Time) error {
	for _, k := range whose {
		t := tx.rows.tries[k]
		if !now.Before(t.Last.Add(k.Forgets())) {
			t = masking.Tries{}
		}
		t.Wrong++
		if now.After(t.Last) {
			t.Last = now
		}
		tx.rows.tries[k] = t
	}
	tx.writes++
	return tx.m.poison[""]
}

func (tx *memoryTx) AnyVirtual(_ context.Context, _ masking.TenantID, numbers []e164.Number) (bool, error) {
	for k := range tx.m.routes {
		if slices.ContainsFunc(numbers, func(n e164.Number) bool { return n.E164() == k[0] }) {
			return true, nil
		}
	}
	return false, nil
}

func (tx *memoryTx) Recording(_ context.Context, tenant masking.TenantID, id masking.CallID) (masking.Recording, error) {
	if r, there := tx.rows.recordings[id]; there && r.Tenant == tenant {
		return r, nil
	}
	return masking.Recording{}, masking.ErrNotFound()
}

func (tx *memoryTx) BeginRecording(_ context.Context, r masking.Recording) error {
	if tx.m.tapeless != nil {
		return tx.m.tapeless
	}
	if _, there := tx.rows.recordings[r.Call]; there {
		return nil
	}
	tx.rows.recordings[r.Call] = r
	if c, there := tx.rows.calls[r.Call]; there {
		c.Recorded = true
		tx.rows.calls[r.Call] = c
	}
	return tx.write(r.Call, "recording")
}

func (tx *memoryTx) EndRecording(_ context.Context, r masking.Recording) (bool, error) {
	have, there := tx.rows.recordings[r.Call]
	if !there {
		return false, masking.ErrNotFound()
	}
	if have.Status != masking.RecordingRunning {
		return false, nil
	}
	r.Held = have.Held
	tx.rows.recordings[r.Call] = r
	return true, tx.write(r.Call, "recording "+string(r.Status))
}

// tenantServer is a tenant's own server that decides on strangers.
type tenantServer struct {
	answer masking.Answer
	fault  error
	hangs  bool // until nobody waits any more
	asked  []masking.Question
	at     []string
}

func (s *tenantServer) Ask(ctx context.Context, url string, q masking.Question) (masking.Answer, error) {
	s.asked, s.at = append(s.asked, q), append(s.at, url)
	if s.hangs {
		<-ctx.Done()
		return masking.Answer{}, ctx.Err()
	}
	return s.answer, s.fault
}
