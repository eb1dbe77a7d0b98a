package callflow

import (
	"context"
	"slices"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/store"
)

// This file is the journal's writer: one goroutine, and beside it at most one attempt
// to write to the store.

// progress is how far the writer is.
type progress struct {
	failing bool // the store takes nothing
	trouble store.Trouble
	cramped bool      // the spool takes nothing
	flushed time.Time // when an attempt to write was begun last
	spilled time.Time // when the queue was put into the spool last
	spills  int       // how often it was
	drained time.Time // when something was taken out of the spool last, by the journal's clock
}

// write is the writer's goroutine; it ends with ctx, or after stop with the last
// entry, or with all of them in the spool.
func (j *Journal) write(ctx context.Context) {
	defer close(j.done)
	for ctx.Err() == nil {
		over, err := j.step(ctx)
		if over {
			return
		}
		j.tell(err)
		if err == nil {
			continue
		}
		j.spill()
		if j.stopping() && j.length.Load() == 0 {
			return
		}
		select {
		case <-time.After(retryEvery):
		case <-ctx.Done():
		}
	}
	j.spill()
}

func (j *Journal) stopping() bool {
	select {
	case <-j.stops:
		return true
	default:
		return false
	}
}

// step writes what is next, or waits for it; over tells that nothing more comes.
func (j *Journal) step(ctx context.Context) (over bool, err error) {
	if j.w.failing {
		if err := j.store.Ready(ctx); err != nil {
			return false, err
		}
	}
	batch, spooled, err := j.next()
	switch {
	case err != nil:
		return false, err
	case len(batch)+spooled == 0 && j.stopping():
		return true, nil
	case len(batch)+spooled == 0:
		select {
		case <-j.wake:
		case <-j.stops:
		case <-ctx.Done():
		}
		return false, nil
	case spooled == 0:
		batch = j.gather(batch)
	}
	j.w.flushed = time.Now()
	return false, j.settle(batch, spooled, j.attempt(ctx, batch))
}

// gather waits until what comes in within flushEvery can share a transaction, and
// gives the entries that are next then.
func (j *Journal) gather(batch []entry) []entry {
	if left := flushEvery - time.Since(j.w.flushed); left > 0 && len(batch) < batchSize && !j.stopping() {
		select {
		case <-time.After(left):
		case <-j.stops:
		}
		batch = j.peek()
	}
	j.prepare(batch)
	return batch
}

// catchUp tells once that the spool is empty.
func (j *Journal) catchUp() {
	select {
	case <-j.caught:
	default:
		close(j.caught)
	}
}

// next gives the entries that are next: those of the spool before those of the queue.
// spooled is how many of the spool they were made of.
func (j *Journal) next() (batch []entry, spooled int, err error) {
	if j.Spooled() == 0 {
		j.catchUp()
		return j.peek(), 0, nil
	}
	j.w.drained = j.clock()
	records, err := j.spool.Peek(batchSize)
	for _, r := range records {
		e, err := decode(r)
		if err != nil {
			j.log.Error("a call record cannot be read from the data folder", "error", err.Error())
			continue
		}
		batch = append(batch, e)
	}
	return batch, len(records), err
}

// attempt writes a batch. While the store takes long, what else waits is put into the
// spool, the batch as well: nobody knows what will become of it.
func (j *Journal) attempt(ctx context.Context, batch []entry) error {
	if j.spool == nil {
		return j.flush(ctx, batch)
	}
	result := make(chan error, 1)
	go func() { result <- j.flush(ctx, batch) }()
	slow := time.NewTicker(spoolAfter)
	defer slow.Stop()
	spills := j.w.spills
	for {
		select {
		case err := <-result:
			if j.w.spills > spills { // the entries are the spool's by now
				for i := range batch {
					batch[i].written = false
				}
			}
			return err
		case <-slow.C:
			j.spill()
		}
	}
}

// settle takes what is written off the queue or the spool. It gives what is wrong: err,
// or that of the spool.
func (j *Journal) settle(batch []entry, spooled int, err error) error {
	switch {
	case spooled == 0:
		j.drop(batch)
	case err == nil:
		err = j.spool.Drop(spooled)
		if err == nil && (j.length.Load() >= batchSize || time.Since(j.w.spilled) >= spoolAfter) {
			j.spill() // there may be much before it
		}
	}
	return err
}

// tell logs the beginning and the end of an outage, not every try within it.
func (j *Journal) tell(err error) {
	switch begins, ends := j.w.trouble.After(err); {
	case begins:
		j.log.Warn("call records wait for the store", "error", err.Error(), "waiting", j.Waiting())
	case ends:
		j.log.Info("call records are written again", "waiting", j.Waiting())
	}
	j.w.failing = err != nil
}

// spill moves the queue to the spool. What does not go into it stays where it is.
func (j *Journal) spill() {
	for j.spool != nil && j.length.Load() > 0 {
		batch := j.peek()
		j.prepare(batch)
		var records [][]byte
		for _, e := range batch {
			if e.moment != kept || e.state != nil && e.state.sealed != nil {
				records = append(records, e.encode())
			}
		}
		err := j.spool.Append(records)
		switch {
		case err != nil && !j.w.cramped:
			j.log.Error("call records can be put neither into the store nor into the data folder", "error", err.Error(), "waiting", j.Waiting())
		case err == nil && j.w.cramped:
			j.log.Info("call records go into the data folder again", "waiting", j.Waiting())
		}
		if j.w.cramped = err != nil; err != nil {
			return
		}
		for i := range batch {
			batch[i].written = true
		}
		j.w.spilled = time.Now()
		j.w.spills++
		j.drop(batch)
	}
}

// peek gives a copy of the entries that are next in the queue.
func (j *Journal) peek() []entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	next := j.queue[:min(len(j.queue), batchSize)]
	for i := range next {
		if next[i].moment == kept {
			next[i].state = j.states[next[i].call.ID]
		}
	}
	return slices.Clone(next)
}

// prepare encodes and seals the states of a batch, each once however often it is tried,
// and takes the ladders that are written with it.
func (j *Journal) prepare(batch []entry) {
	for i := range batch {
		e := &batch[i]
		if e.last() {
			e.ladder, _ = j.ladders.Take(e.callID())
		}
		k := e.state
		if k == nil || k.encode == nil {
			continue
		}
		state, err := k.encode()
		if err != nil {
			j.log.Error("the state of a call cannot be written", "call", string(e.call.ID), "error", err.Error())
		} else {
			k.sealed = j.box.Seal(state, []byte(e.call.ID))
		}
		k.encode = nil
	}
}

// drop takes what is written of a batch, which was the head of the queue, off it. An
// entry of a call of which a newer state has come since goes to the queue's end instead.
func (j *Journal) drop(batch []entry) {
	j.mu.Lock()
	defer j.mu.Unlock()
	written := map[masking.EventID]bool{}
	var again []entry
	for _, e := range batch {
		if !e.written {
			continue
		}
		written[e.event] = true
		switch {
		case e.last():
			j.ladders.Forget(e.callID())
		case e.moment == kept && j.outdated(e):
			again = append(again, e)
		case e.moment == kept:
			delete(j.states, e.call.ID)
		}
	}
	head := min(len(batch), len(j.queue))
	rest := slices.DeleteFunc(j.queue[:head:head], func(e entry) bool { return written[e.event] })
	j.queue = append(slices.Delete(j.queue, len(rest), head), again...)
	j.length.Store(int64(len(j.queue)))
}

// save writes a batch in one transaction.
func (j *Journal) save(ctx context.Context, batch []entry) error {
	return j.store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		left := make([]entry, len(batch))
		for i, e := range batch {
			var err error
			if left[i], err = j.forget(ctx, tx, e); err != nil {
				return err
			}
		}
		return j.put(ctx, tx, left)
	})
}

// put writes a batch. Calls of one allocation, or through one number, are at several
// nodes, and each writes them as they come: so that no two nodes wait for each other,
// what they have in common is taken in one order, the allocations before the numbers.
func (j *Journal) put(ctx context.Context, tx store.Tx, batch []entry) error {
	ids := make([]masking.AllocationID, len(batch))
	for i, e := range batch {
		ids[i] = e.allocation()
	}
	tx.LockAllocations(ids)
	var ended []entry
	for _, e := range batch {
		over, err := j.apply(ctx, tx, e)
		if err != nil {
			return err
		}
		if over {
			ended = append(ended, e)
		}
	}
	slices.SortStableFunc(ended, func(a, b entry) int { return a.call.VirtualNumber.Compare(b.call.VirtualNumber) })
	for _, e := range ended {
		if err := j.judgeNumber(ctx, tx, e); err != nil {
			return err
		}
	}
	return nil
}

// forget takes numbers out of an entry that were erased since its call began, and that
// its record does not name: no erasure would find them any more. Those that the record
// names are found in it, once the call is over. Only calls are looked at of which
// something may have lain in the spool: whatever else there is, is written at once.
func (j *Journal) forget(ctx context.Context, tx store.Tx, e entry) (entry, error) {
	if j.digest == nil || e.call.StartedAt.After(j.w.drained) || e.call.Tenant == "" {
		return e, nil
	}
	var erased []e164.Number
	for _, n := range e.call.People() {
		was, err := tx.ErasedSince(ctx, e.call.Tenant, j.digest(e.call.Tenant, n), e.call.StartedAt)
		if err != nil {
			return e, err
		}
		if was {
			erased = append(erased, n)
		}
	}
	if len(erased) == 0 {
		return e, nil
	}
	known, err := tx.Call(ctx, e.call.Tenant, e.call.ID)
	if err != nil && masking.KindOf(err) != masking.NotFound {
		return e, err
	}
	for _, n := range erased {
		if !slices.Contains(known.People(), n) {
			e.call, e.ladder = e.call.Erase(n), nil
		}
	}
	return e, nil
}

// flush writes a batch and notes what of it is written.
func (j *Journal) flush(ctx context.Context, batch []entry) error {
	err := j.save(ctx, batch)
	if err == nil {
		for i := range batch {
			batch[i].written = true
		}
		return nil
	}
	if j.store.Ready(ctx) != nil {
		return err
	}
	return j.saveEach(ctx, batch)
}

// saveEach writes a batch that failed as a whole although the store answers. One
// entry that can never be written must not hold up all others: it is given up,
// loudly. That is one which a rule refuses, or one that fails while another
// call's is written; where none is written, it is the store that fails (a full
// disk can still be read), and all of them wait.
func (j *Journal) saveEach(ctx context.Context, batch []entry) error {
	for i := range batch {
		if batch[i].written {
			continue
		}
		err := j.save(ctx, batch[i:i+1])
		if err != nil && masking.KindOf(err) == "" {
			if !j.saveAnother(ctx, batch[i:]) {
				return err
			}
			err = j.save(ctx, batch[i:i+1]) // the store may have come back between the two
		}
		if err != nil {
			j.log.Error("a call record cannot be written", "call", string(batch[i].callID()), "error", err.Error())
		}
		batch[i].written = true
	}
	return nil
}

// saveAnother writes the next entry of a call other than that of the batch's first,
// and tells whether one could be written. Within a call the order is kept.
func (j *Journal) saveAnother(ctx context.Context, batch []entry) bool {
	seen := map[masking.CallID]bool{batch[0].callID(): true}
	for i, e := range batch {
		if e.written || seen[e.callID()] {
			continue
		}
		if len(seen) > witnesses {
			break
		}
		seen[e.callID()] = true
		if j.save(ctx, batch[i:i+1]) == nil {
			batch[i].written = true
			return true
		}
	}
	return false
}
