package quota

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errAway = errors.New("the ledger is away")

// book is a ledger of several nodes.
type book struct {
	mu    sync.Mutex
	held  map[string]map[string]int // by bound and node
	away  bool
	hangs chan struct{} // nil: it does not
	slow  time.Duration // before Hold answers
	full  bool          // it can be read alone
	lost  bool          // what Hold answers is lost on its way
	read  func()        // runs while the next answer of Shares is on its way; nil: nothing does
	asked int
	most  int // the largest sum there ever was
}

func newBook() *book { return &book{held: map[string]map[string]int{}} }

// page is what a node sees of it.
type page struct {
	*book
	node string
}

func (p page) others(bound string) (n int) {
	for node, held := range p.held[bound] {
		if node != p.node {
			n += held
		}
	}
	return n
}

func (p page) put(bound string, held int) {
	if p.held[bound] == nil {
		p.held[bound] = map[string]int{}
	}
	if p.held[bound][p.node] = held; held == 0 {
		delete(p.held[bound], p.node)
	}
	p.most = max(p.most, p.others(bound)+held)
}

func (p page) Hold(ctx context.Context, bound string, decide func(int) int) (int, int, error) {
	if p.hangs != nil {
		<-p.hangs
	}
	if p.slow > 0 {
		<-time.After(p.slow)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.asked++; p.away || p.full {
		return 0, 0, errAway
	}
	others := p.others(bound)
	held := decide(others)
	p.put(bound, held)
	if p.lost {
		return 0, 0, errAway
	}
	return held, others, nil
}

func (p page) Shares(context.Context) (map[string]Share, error) {
	shares, read, err := p.shares()
	if read != nil {
		read()
	}
	return shares, err
}

func (p page) shares() (shares map[string]Share, read func(), err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.away {
		return nil, nil, errAway
	}
	shares = map[string]Share{}
	for bound, nodes := range p.held {
		if held, ok := nodes[p.node]; ok {
			shares[bound] = Share{held, p.others(bound)}
		}
	}
	read, p.read = p.read, nil
	return shares, read, nil
}

func (p page) Put(_ context.Context, held map[string]int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.away || p.full {
		return errAway
	}
	for bound, n := range held {
		p.put(bound, n)
	}
	return nil
}

// total is the sum of all shares of a bound.
func (b *book) total(bound string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return page{b, ""}.others(bound)
}

// highest is the largest sum there ever was of a bound.
func (b *book) highest() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.most
}

// nodes are that many on one ledger. They end with the test.
func nodes(t *testing.T, b *book, n int) (list []*Quota) {
	for i := range n {
		q := New(page{b, fmt.Sprint("n", i)}, nil)
		t.Cleanup(q.Close)
		list = append(list, q)
	}
	return list
}

// took takes a place and fails unless the answer is want.
func took(t *testing.T, q *Quota, most int, want bool) {
	t.Helper()
	if ok, err := q.Take(t.Context(), "calls", most); err != nil || ok != want {
		t.Fatalf("took a place: %v, %v; want %v", ok, err, want)
	}
}

func TestANodeAloneCountsForItself(t *testing.T) {
	q := New(nil, nil)
	defer q.Close()
	took(t, q, 2, true)
	took(t, q, 2, true)
	took(t, q, 2, false)
	if q.Room("calls", 2) || !q.Room("calls", 3) || !q.Room("others", 1) {
		t.Error("room is not told as it is")
	}
	q.Give("calls")
	took(t, q, 2, true)
	took(t, q, 0, true)
	q.Add("calls", 2)
	for range 4 {
		q.Give("calls")
	}
	if q.Len() != 0 {
		t.Error("bounds are left")
	}
}

func TestOnAllNodesTogetherThereAreNeverMoreThanTheBoundAndAllOfItCanBeUsed(t *testing.T) {
	for _, most := range []int{1, 3, 40, 300} {
		t.Run(fmt.Sprint(most), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBook()
				list := nodes(t, b, 3)
				var up, highest atomic.Int64
				var wg sync.WaitGroup
				for _, q := range list {
					for range 2 * most {
						wg.Go(func() {
							for range 10 {
								<-time.After(time.Duration(rand.IntN(300)) * time.Millisecond)
								ok, err := q.Take(t.Context(), "calls", most)
								if err != nil {
									t.Error(err)
								}
								if !ok {
									continue
								}
								for n := up.Add(1); ; {
									if old := highest.Load(); n <= old || highest.CompareAndSwap(old, n) {
										break
									}
								}
								<-time.After(time.Duration(rand.IntN(2000)) * time.Millisecond)
								up.Add(-1)
								q.Give("calls")
							}
						})
					}
				}
				wg.Wait()
				if n := highest.Load(); n > int64(most) || b.highest() > most {
					t.Errorf("%d were up at once, and %d held", n, b.highest())
				}
				// Whoever is left alone can have all of them.
				<-time.After(3 * settles)
				for range most {
					took(t, list[0], most, true)
				}
				took(t, list[1], most, false)
				for range most {
					list[0].Give("calls")
				}
				<-time.After(3 * settles)
				if b.total("calls") != 0 || list[0].Len()+list[1].Len()+list[2].Len() != 0 {
					t.Errorf("left: %d held", b.total("calls"))
				}
			})
		})
	}
}

func TestWhatNodesHoldToSpareComesBackToWhoNeedsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook()
		list := nodes(t, b, 3)
		const most = 100
		for _, q := range list {
			took(t, q, most, true)
		}
		if b.total("calls") <= 3 {
			t.Error("nobody has any to spare")
		}
		got := 3
		for range 4 { // seconds
			for ok := true; ok; {
				var err error
				if ok, err = list[0].Take(t.Context(), "calls", most); err != nil {
					t.Fatal(err)
				} else if ok {
					got++
				}
			}
			<-time.After(settles)
		}
		if got != most || b.highest() > most {
			t.Errorf("%d can be used of %d, %d were held", got, most, b.highest())
		}
	})
}

func TestAsLongAsTheShareLastsNobodyIsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook()
		q := nodes(t, b, 1)[0]
		for range 60 {
			took(t, q, 1000, true)
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.asked > 5 {
			t.Errorf("asked %d times", b.asked)
		}
	})
}

func TestASmallBoundIsGivenBackAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		list := nodes(t, newBook(), 2)
		took(t, list[0], 1, true)
		took(t, list[1], 1, false)
		list[0].Give("calls")
		synctest.Wait()
		took(t, list[1], 1, true)
	})
}

func TestWhoeverCannotAskIsToldSoAndHasWhatTheNodeHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook()
		q := nodes(t, b, 1)[0]
		took(t, q, 100, true) // and some to spare
		b.mu.Lock()
		b.away = true
		b.mu.Unlock()
		took(t, q, 100, true)
		if _, err := q.Take(t.Context(), "others", 100); !errors.Is(err, ErrUnknown) {
			t.Errorf("error %v", err)
		}
		<-time.After(2 * fresh)
		if _, err := q.Take(t.Context(), "calls", 100); !errors.Is(err, ErrUnknown) {
			t.Errorf("error %v: others may have its share by now", err)
		}
		b.mu.Lock()
		b.away = false
		b.mu.Unlock()
		<-time.After(2 * settles)
		took(t, q, 100, true)
	})
}

func TestNobodyWaitsForALedgerThatDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook()
		b.hangs = make(chan struct{})
		q := nodes(t, b, 1)[0]
		began := time.Now()
		if _, err := q.Take(t.Context(), "calls", 1); !errors.Is(err, ErrUnknown) || time.Since(began) != patience {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		close(b.hangs) // what comes too late is given back
		<-time.After(2 * settles)
		if b.total("calls") != 0 || q.Len() != 0 {
			t.Errorf("%d held", b.total("calls"))
		}
	})
}

func TestWhoWasTakenForDeadCountsAgainWhatItUses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook()
		list := nodes(t, b, 2)
		took(t, list[0], 3, true)
		took(t, list[0], 3, true)
		b.mu.Lock()
		delete(b.held["calls"], "n0")
		b.mu.Unlock()
		<-time.After(2 * settles)
		took(t, list[1], 3, true)
		took(t, list[1], 3, false)
		took(t, list[0], 3, false)
	})
}

func TestWhatIsThereAlreadyCountsWhateverTheBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook()
		list := nodes(t, b, 2)
		list[0].Add("calls", 1)
		list[0].Add("calls", 1)
		took(t, list[0], 1, false)
		<-time.After(2 * settles)
		took(t, list[1], 2, false)
		list[0].Give("calls")
		<-time.After(2 * settles)
		took(t, list[1], 2, true)
	})
}

func TestWhatWasTakenUpIsCountedAtOnceByAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook()
		list := nodes(t, b, 2)
		const most = 50
		for range most {
			list[0].Add("calls", most)
		}
		synctest.Wait()
		took(t, list[1], most, false)
		for range most / 2 {
			list[0].Give("calls")
		}
		<-time.After(2 * settles)
		for range most / 2 {
			took(t, list[1], most, true)
		}
		took(t, list[1], most, false)
		list[0].Add("others", 0)
		list[0].Give("others")
		if b.total("others") != 0 {
			t.Error("what has no bound is written down")
		}
	})
}

func TestWhatTheLedgerGotWhileItWasLookedAtIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook()
		q := nodes(t, b, 1)[0]
		took(t, q, 1, true)
		b.mu.Lock()
		b.lost = true
		b.read = func() {
			if _, err := q.Take(t.Context(), "others", 1); !errors.Is(err, ErrUnknown) {
				t.Errorf("error %v", err)
			}
			q.Give("calls")
		}
		b.mu.Unlock()
		<-time.After(4 * settles)
		if n := b.total("others"); n != 0 || b.total("calls") != 0 || q.Len() != 0 {
			t.Errorf("%d are held that nobody knows of", n)
		}
	})
}

// drops takes what a node holds of the bound out of the ledger, as when it is found lost.
func (b *book) drops(node string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.held["calls"], node)
}

// draining lets one of a node's calls after the other end and a new one come, and fails
// if it is let in.
func draining(t *testing.T, q *Quota, calls, most int) {
	t.Helper()
	for range calls {
		q.Give("calls")
		took(t, q, most, false)
		<-time.After(settles)
	}
}

func TestAsLongAsThereAreMoreThanTheBoundNobodyIsLetIn(t *testing.T) {
	t.Run("since a node was taken for dead and lives", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newBook()
			list := nodes(t, b, 2)
			const most = 100
			for range most / 2 {
				took(t, list[0], most, true)
			}
			<-time.After(settles * 7 / 2) // nobody looks in this moment
			b.drops("n0")
			for range most {
				took(t, list[1], most, true)
			}
			<-time.After(settles) // it has found out, but not what others hold
			draining(t, list[0], most/2, most)
			list[1].Give("calls")
			<-time.After(2 * settles)
			took(t, list[0], most, true)
		})
	})
	t.Run("since it was lowered", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			list := nodes(t, newBook(), 2)
			for _, q := range list {
				for range 50 {
					took(t, q, 200, true)
				}
			}
			<-time.After(3 * settles)
			draining(t, list[0], 40, 60) // 60 are left: 10 and 50
			took(t, list[0], 60, false)
			list[0].Give("calls")
			took(t, list[0], 60, true)
		})
	})
	t.Run("since talks were taken up", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			list := nodes(t, newBook(), 2)
			for range 5 {
				took(t, list[0], 5, true)
			}
			for range 5 {
				list[1].Add("calls", 5)
			}
			<-time.After(2 * settles)
			draining(t, list[1], 5, 5)
			list[0].Give("calls")
			took(t, list[0], 5, true)
		})
	})
}

func TestAShareThatCannotBeWrittenIsNotReliedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook()
		list := nodes(t, b, 2)
		for range 30 {
			took(t, list[0], 30, true)
		}
		b.drops("n0")
		b.mu.Lock()
		b.full = true
		b.mu.Unlock()
		<-time.After(2 * fresh)
		list[0].Give("calls")
		if _, err := list[0].Take(t.Context(), "calls", 30); !errors.Is(err, ErrUnknown) {
			t.Errorf("error %v: others may have its places", err)
		}
		b.mu.Lock()
		b.full = false
		b.mu.Unlock()
		<-time.After(2 * settles)
		took(t, list[0], 30, true)
		for range 30 {
			list[0].Give("calls")
		}
		<-time.After(3 * settles)
		if b.total("calls") != 0 || list[0].Len() != 0 {
			t.Errorf("%d are held", b.total("calls"))
		}
	})
}

func TestWhatIsTakenUpWhileTheLedgerIsAskedIsCountedOnceItHasAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook()
		b.hangs = make(chan struct{})
		list := nodes(t, b, 2)
		var wg sync.WaitGroup
		wg.Go(func() { took(t, list[0], 4, false) }) // one place more was asked for, and three are in use by then
		synctest.Wait()
		for range 3 {
			list[0].Add("calls", 4)
		}
		close(b.hangs)
		wg.Wait()
		synctest.Wait()
		took(t, list[1], 3, false)
	})
}

func TestNobodyWaitsLongerThanHalfASecondHoweverManyAreAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook()
		b.slow = patience * 4 / 5
		q := nodes(t, b, 1)[0]
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				began := time.Now()
				ok, err := q.Take(t.Context(), "calls", 4)
				if waited := time.Since(began); waited > patience || !ok && (!errors.Is(err, ErrUnknown) || waited != patience) {
					t.Errorf("%v, %v after %v", ok, err, waited)
				}
			})
			<-time.After(patience / 5)
		}
		wg.Wait()
	})
}

func TestNobodyWaitsForALedgerThatHasNotAnsweredOthersForHalfASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook()
		b.hangs = make(chan struct{})
		q := nodes(t, b, 1)[0]
		refused := func(want time.Duration) {
			t.Helper()
			began := time.Now()
			if _, err := q.Take(t.Context(), "calls", 5); !errors.Is(err, ErrUnknown) || time.Since(began) != want {
				t.Errorf("%v after %v", err, time.Since(began))
			}
		}
		refused(patience)
		refused(0)
		<-time.After(settles)
		refused(0)
		close(b.hangs)
		synctest.Wait()
		took(t, q, 5, true)
	})
}

func TestWhoHasWaitedLongEnoughHasOnlyWhatIsKnownToBeFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook()
		q := nodes(t, b, 1)[0]
		ctx, cancel := Waiting(t.Context(), patience)
		defer cancel()
		if _, err := q.Take(ctx, "calls", 100); !errors.Is(err, ErrUnknown) || b.asked != 0 || q.Len() != 0 {
			t.Errorf("%v, asked %d times", err, b.asked)
		}
		took(t, q, 100, true) // and some to spare
		if ok, err := q.Take(ctx, "calls", 100); !ok || err != nil {
			t.Errorf("a place that is free: %v, %v", ok, err)
		}
		b.hangs = make(chan struct{})
		defer close(b.hangs)
		ctx, cancel = Waiting(t.Context(), patience*3/5)
		defer cancel()
		began := time.Now()
		if _, err := q.Take(ctx, "others", 1); !errors.Is(err, ErrUnknown) || time.Since(began) != patience*2/5 {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		ctx, cancel = context.WithCancel(t.Context())
		cancel()
		if _, err := q.Take(ctx, "others", 1); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
	})
}
