package backlog

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"tandem/internal/seal"
)

func box(t testing.TB, key byte) *seal.Box {
	t.Helper()
	b, err := seal.New(bytes.Repeat([]byte{key}, seal.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func open(t testing.TB, o Options) *Queue {
	t.Helper()
	q, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func texts(n int) (records [][]byte) {
	for i := range n {
		records = append(records, fmt.Appendf(nil, "record %03d of +919812345671", i))
	}
	return records
}

// drain takes everything off, at most n records at a time.
func drain(t testing.TB, q *Queue, n int) (all [][]byte) {
	t.Helper()
	for q.Len() > 0 {
		records, err := q.Peek(n)
		if err != nil || len(records) == 0 {
			t.Fatalf("%d records of %d, %v", len(records), q.Len(), err)
		}
		all = append(all, records...)
		if err := q.Drop(len(records)); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func files(t testing.TB, dir string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestWhatWasPutInComesOutInOrderAndLeavesNoFile(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(r *rapid.T) {
		o := Options{Dir: dir, Box: box(t, 1), Max: 1 << 20, Segment: 300}
		q := open(t, o)
		var want, got [][]byte
		next := 0
		for range rapid.IntRange(1, 30).Draw(r, "steps") {
			switch rapid.SampledFrom([]string{"append", "take", "restart"}).Draw(r, "step") {
			case "append":
				var records [][]byte
				for range rapid.IntRange(1, 5).Draw(r, "records") {
					records = append(records, fmt.Appendf(nil, "%d", next))
					next++
				}
				if err := q.Append(records); err != nil {
					r.Fatal(err)
				}
				want = append(want, records...)
			case "take":
				records, err := q.Peek(rapid.IntRange(1, 5).Draw(r, "most"))
				if err != nil {
					r.Fatal(err)
				}
				take := rapid.IntRange(0, len(records)).Draw(r, "taken")
				if err := q.Drop(take); err != nil {
					r.Fatal(err)
				}
				got = append(got, records[:take]...)
			case "restart": // what was taken of the first file comes again
				before := q.Len()
				if err := q.Close(); err != nil {
					r.Fatal(err)
				}
				q = open(t, o)
				got = got[:len(got)-(q.Len()-before)]
			}
		}
		got = append(got, drain(t, q, 7)...)
		if !slices.EqualFunc(got, want, bytes.Equal) {
			r.Errorf("put in %s, took out %s", want, got)
		}
		if left := files(t, dir); len(left) != 0 || q.Size() != 0 {
			r.Errorf("left %v, %d bytes", left, q.Size())
		}
	})
}

func TestNothingOfARecordCanBeReadInTheFiles(t *testing.T) {
	dir := t.TempDir()
	q := open(t, Options{Dir: dir, Box: box(t, 1), Max: 1 << 20})
	if err := q.Append(texts(10)); err != nil {
		t.Fatal(err)
	}
	for _, name := range files(t, dir) {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, []byte("9812345671")) {
			t.Errorf("a number stands in %s", filepath.Base(name))
		}
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("others can read it: %v, %v", info.Mode(), err)
		}
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestARecordThatWasNotWrittenToItsEndIsLeftOut(t *testing.T) {
	o := Options{Dir: t.TempDir(), Box: box(t, 1), Max: 1 << 20}
	q := open(t, o)
	if err := q.Append(texts(3)); err != nil {
		t.Fatal(err)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	name := files(t, o.Dir)[0]
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	for cut := range info.Size() / 3 {
		if err := os.Truncate(name, info.Size()-1-cut); err != nil {
			t.Fatal(err)
		}
		q = open(t, o)
		if q.Len() != 2 {
			t.Errorf("%d records with the last %d bytes missing", q.Len(), cut+1)
		}
		records, err := q.Peek(10)
		if err != nil || !slices.EqualFunc(records, texts(2), bytes.Equal) {
			t.Errorf("read %q, %v", records, err)
		}
	}
	more := texts(4)[3:]
	if err := q.Append(more); err != nil { // behind what was cut
		t.Fatal(err)
	}
	if got := drain(t, q, 10); !slices.EqualFunc(got, append(texts(2), more...), bytes.Equal) {
		t.Errorf("read %q", got)
	}
}

func TestARecordOfAnotherKeyOrAnotherPlaceIsNil(t *testing.T) {
	o := Options{Dir: t.TempDir(), Box: box(t, 1), Max: 1 << 20, Segment: 1}
	q := open(t, o)
	for _, r := range texts(3) {
		if err := q.Append([][]byte{r}); err != nil {
			t.Fatal(err)
		}
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	found := files(t, o.Dir)
	if err := os.Rename(found[2], found[1]); err != nil {
		t.Fatal(err)
	}
	q = open(t, o)
	if got := drain(t, q, 1); len(got) != 2 || string(got[0]) != string(texts(1)[0]) || got[1] != nil {
		t.Errorf("read %q", got)
	}
	q = open(t, Options{Dir: o.Dir, Box: box(t, 1), Max: 1 << 20})
	if err := q.Append(texts(1)); err != nil {
		t.Fatal(err)
	}
	q = open(t, Options{Dir: o.Dir, Box: box(t, 2), Max: 1 << 20})
	if got := drain(t, q, 5); len(got) != 1 || got[0] != nil {
		t.Errorf("read %q by another key", got)
	}
}

func TestAFullQueueRefusesLoudlyAndTakesAgainWhenThereIsRoom(t *testing.T) {
	q := open(t, Options{Dir: t.TempDir(), Box: box(t, 1), Max: 2000, Segment: 500})
	var taken int
	for ; !q.Full(); taken++ {
		if err := q.Append(texts(1)); err != nil {
			t.Fatal(err)
		}
	}
	if q.Size() < 1500 {
		t.Errorf("full with %d bytes of 2000", q.Size())
	}
	var err error
	for ; err == nil; taken++ { // what must be written still is
		err = q.Append(texts(1))
	}
	taken--
	if !errors.Is(err, ErrFull) || q.Size() > 2000 || q.Len() != taken {
		t.Errorf("%v with %d bytes, %d of %d records", err, q.Size(), q.Len(), taken)
	}
	if got := drain(t, q, 3); len(got) != taken {
		t.Errorf("%d records of %d", len(got), taken)
	}
	if err := q.Append(texts(1)); err != nil || q.Full() {
		t.Errorf("full once it is empty: %v", err)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestAFolderThatCannotBeWrittenToIsNoRoom(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "journal")
	q := open(t, Options{Dir: dir, Box: box(t, 1), Max: 1 << 20})
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := q.Append(texts(1)); err == nil || !q.Full() || q.Len() != 0 {
		t.Errorf("%v, full: %v", err, q.Full())
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := q.Append(texts(1)); err != nil || q.Full() || q.Len() != 1 {
		t.Errorf("%v once it can be written to, full: %v", err, q.Full())
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
}

// Nobody puts anything in once all is written again, so nobody would tell that it can be.
func TestAQueueThatCouldNotWriteIsFullForAMomentOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "queue")
	q := open(t, Options{Dir: dir, Box: box(t, 1), Max: 1 << 20})
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		if err := q.Append(texts(1)); err == nil || !q.Full() {
			t.Errorf("full %v, %v", q.Full(), err)
		}
		<-time.After(moment)
		if q.Full() {
			t.Error("it is full for ever")
		}
	})
}

// On a disk that has become read-only, say. A folder with something in it cannot be
// removed by anybody.
func TestAFileThatCannotBeRemovedHoldsNothingUp(t *testing.T) {
	o := Options{Dir: t.TempDir(), Box: box(t, 1), Max: 1 << 20, Segment: 1}
	q := open(t, o)
	for _, r := range texts(2) {
		if err := q.Append([][]byte{r}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := q.Peek(1); err != nil {
		t.Fatal(err)
	}
	stuck := files(t, o.Dir)[0]
	if err := errors.Join(os.Remove(stuck), os.MkdirAll(filepath.Join(stuck, "x"), 0o700)); err != nil {
		t.Fatal(err)
	}
	if err := q.Drop(1); err != nil {
		t.Error(err)
	}
	if got := drain(t, q, 5); len(got) != 1 || string(got[0]) != string(texts(2)[1]) {
		t.Errorf("read %q", got)
	}
	if err := q.Append(texts(1)); err != nil || len(drain(t, q, 5)) != 1 {
		t.Errorf("put in behind it: %v", err)
	}
}

func TestAFileThatCannotBeReadIsPassedOverAndLeft(t *testing.T) {
	o := Options{Dir: t.TempDir(), Box: box(t, 1), Max: 1 << 20, Segment: 1}
	q := open(t, o)
	for _, r := range texts(3) {
		if err := q.Append([][]byte{r}); err != nil {
			t.Fatal(err)
		}
	}
	gone := files(t, o.Dir)[1]
	aside := filepath.Join(t.TempDir(), "aside")
	if err := os.Rename(gone, aside); err != nil {
		t.Fatal(err)
	}
	if got := drain(t, q, 1); len(got) != 2 || string(got[1]) != string(texts(3)[2]) || q.Size() != 0 {
		t.Errorf("read %q, %d bytes are left", got, q.Size())
	}
	if err := os.Rename(aside, gone); err != nil {
		t.Fatal(err)
	}
	if err := q.Append(texts(1)); err != nil { // not in its place
		t.Fatal(err)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	q = open(t, o)
	if got := drain(t, q, 5); len(got) != 2 || string(got[0]) != string(texts(3)[1]) {
		t.Errorf("read %q by the next process", got)
	}
}

func TestAFullDiskGetsNoFileForEachAttempt(t *testing.T) {
	if dir := os.Getenv("BACKLOG_ON_A_FULL_DISK"); dir != "" { // the limit is the process's
		onAFullDisk(t, dir)
		return
	}
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), "BACKLOG_ON_A_FULL_DISK="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func onAFullDisk(t *testing.T, dir string) {
	signal.Ignore(syscall.SIGXFSZ)
	q := open(t, Options{Dir: dir, Box: box(t, 1), Max: 1 << 20})
	if err := q.Append(texts(3)); err != nil {
		t.Fatal(err)
	}
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &was); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 10, Max: was.Max}); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if err := q.Append(texts(1)); err == nil {
			t.Fatal("written beyond the limit")
		}
	}
	if n := len(files(t, dir)); n > 2 {
		t.Errorf("%d files", n)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &was); err != nil {
		t.Fatal(err)
	}
	if err := q.Append(texts(4)[3:]); err != nil {
		t.Fatal(err)
	}
	if got := drain(t, q, 10); !slices.EqualFunc(got, texts(4), bytes.Equal) {
		t.Errorf("read %q", got)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
}

// What a power cut leaves of a write on some file systems.
func TestZerosAtTheEndOfAFileAreNoRecords(t *testing.T) {
	o := Options{Dir: t.TempDir(), Box: box(t, 1), Max: 1 << 20}
	q := open(t, o)
	if err := errors.Join(q.Append(texts(3)), q.Close()); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(files(t, o.Dir)[0], os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Write(make([]byte, 64<<10))
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	q = open(t, o)
	if got := drain(t, q, 10); !slices.EqualFunc(got, texts(3), bytes.Equal) {
		t.Errorf("read %d records", len(got))
	}
}
