// Package backlog keeps what is to be done later where the end of the process does no
// harm to it: a queue of records in files, bounded and sealed. Nothing here knows what
// is in a record.
//
// What was read is not remembered over a restart: whoever takes records off does again
// what he has done, and must come to the same.
package backlog

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"tandem/internal/seal"
)

// ErrFull says that a record has no room.
var ErrFull = errors.New("backlog: there is no more room")

const (
	suffix      = ".sealed"
	headerSize  = 4 // the length of what follows, big-endian
	segmentSize = 4 << 20
	// nearlyFull is how many quarters of the room must be taken, see Queue.Full.
	nearlyFull = 3
	// moment is how long a failed Append says that nothing can be written.
	moment = 2 * time.Second
)

// Options say where a queue is. All but Segment and Log are required.
type Options struct {
	Dir string    // its own; made if missing
	Box *seal.Box // seals each record
	Max int64     // bytes that all files may have together
	// Log is told of files that are damaged, or cannot be read or removed: nil = nobody.
	Log *slog.Logger
	// Segment is from how many bytes on another file is begun: a file is removed when
	// all of it has been taken off. 0 = 4 MiB.
	Segment int64
}

// A Queue is what waits, the oldest first. One goroutine may change it; Len, Size and
// Full may be asked by any.
type Queue struct {
	o        Options
	segments []segment // with something in them; the last may be written to
	out      *os.File  // the last segment, if this process has begun it
	last     int       // the highest number of a segment there was: a file that was left is not written over
	at       int64     // in the first segment: what comes next
	taken    int       // how many of its records were taken off
	seen     []int64   // where the records end that Peek gave last

	count atomic.Int64
	size  atomic.Int64
	stuck atomic.Int64 // when Append failed last, ns of the Unix epoch; 0 if it has not since it last went well
}

type segment struct {
	number  int
	size    int64 // of whole records
	records int
}

// Open reads what an earlier process left. A record that was not written to its end,
// of which nobody was told that it is safe, is left out.
func Open(o Options) (*Queue, error) {
	if o.Segment == 0 {
		o.Segment = segmentSize
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("backlog: %w", err)
	}
	q := &Queue{o: o}
	names, err := filepath.Glob(filepath.Join(o.Dir, "*"+suffix))
	if err != nil {
		return nil, fmt.Errorf("backlog: %w", err)
	}
	slices.Sort(names) // numbers are written at one length
	for _, name := range names {
		s, err := q.survey(name)
		if err != nil {
			return nil, err
		}
		q.segments, q.last = append(q.segments, s), s.number
		q.size.Add(s.size)
		q.count.Add(int64(s.records))
	}
	return q, q.tidy()
}

// survey counts the whole records of a segment. A length of 0 is none of ours: some
// file systems leave zeros of what was being written when the power went.
func (q *Queue) survey(name string) (s segment, err error) {
	if _, err := fmt.Sscanf(filepath.Base(name), "%d", &s.number); err != nil {
		return s, fmt.Errorf("backlog: %s is no file of ours", name)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return s, fmt.Errorf("backlog: %w", err)
	}
	rest := b
	for ; len(rest) >= headerSize; s.records++ {
		n := int64(binary.BigEndian.Uint32(rest))
		if n == 0 || headerSize+n > int64(len(rest)) {
			break
		}
		rest = rest[headerSize+n:]
		s.size += headerSize + n
	}
	if len(rest) > 0 {
		q.o.Log.Warn("the end of a file is no whole record, and is left out", "file", name, "records", s.records, "bytes_left_out", len(rest))
	}
	return s, nil
}

func (q *Queue) path(s segment) string {
	return filepath.Join(q.o.Dir, fmt.Sprintf("%012d%s", s.number, suffix))
}

// name is what the records of a segment are sealed for: in another file they do not open.
func (q *Queue) name(s segment) []byte {
	return []byte(strings.TrimSuffix(filepath.Base(q.path(s)), suffix))
}

// Len is how many records wait.
func (q *Queue) Len() int { return int(q.count.Load()) }

// Size is how many bytes the files have.
func (q *Queue) Size() int64 { return q.size.Load() }

// Full reports whether what is left should be kept for what must be written: three
// quarters of the room are taken, or nothing could be written a moment ago. Whoever has
// something to put in tries again within that moment; nobody else would ever find out
// that it can be written again.
func (q *Queue) Full() bool {
	failed := q.stuck.Load()
	return failed != 0 && time.Since(time.Unix(0, failed)) < moment || q.size.Load() >= q.o.Max/4*nearlyFull
}

// Append puts records at the end, all or none. nil says that they outlive the process and
// the machine's power.
func (q *Queue) Append(records [][]byte) error {
	err := q.append(records)
	if err == nil {
		q.stuck.Store(0)
	} else {
		q.stuck.Store(time.Now().UnixNano())
	}
	return err
}

func (q *Queue) append(records [][]byte) error {
	if err := q.begin(); err != nil {
		return err
	}
	last := &q.segments[len(q.segments)-1]
	var b []byte
	for _, r := range records {
		sealed := q.o.Box.Seal(r, q.name(*last))
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(sealed))), sealed...)
	}
	if q.size.Load()+int64(len(b)) > q.o.Max {
		return ErrFull
	}
	_, err := q.out.WriteAt(b, last.size)
	if err == nil {
		err = q.out.Sync()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("backlog: %w", err), q.cut())
	}
	last.size += int64(len(b))
	last.records += len(records)
	q.size.Add(int64(len(b)))
	q.count.Add(int64(len(records)))
	return nil
}

// cut sees to it that what was written in part does not come before what is written
// next: that goes into another file. One that is still empty is used again, so that a
// full disk does not get a file for each attempt.
func (q *Queue) cut() error {
	if q.segments[len(q.segments)-1].size == 0 && q.out.Truncate(0) == nil {
		return nil
	}
	return q.end()
}

// begin sees that there is a segment to write to.
func (q *Queue) begin() error {
	if q.out != nil && q.segments[len(q.segments)-1].size < q.o.Segment {
		return nil
	}
	if err := q.end(); err != nil {
		return err
	}
	next := segment{number: q.last + 1}
	f, err := os.OpenFile(q.path(next), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("backlog: %w", err)
	}
	if err := q.syncFolder(); err != nil {
		return errors.Join(err, f.Close())
	}
	q.out, q.last = f, next.number
	q.segments = append(q.segments, next)
	return nil
}

func (q *Queue) syncFolder() error {
	dir, err := os.Open(q.o.Dir)
	if err != nil {
		return fmt.Errorf("backlog: %w", err)
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// end closes the segment that is written to. A record that was not written whole is cut
// off; if that fails, it is seen as such when the file is read again.
func (q *Queue) end() error {
	if q.out == nil {
		return nil
	}
	_ = q.out.Truncate(q.segments[len(q.segments)-1].size)
	err := q.out.Close()
	q.out = nil
	if err != nil {
		return fmt.Errorf("backlog: %w", err)
	}
	return nil
}

// Peek gives at most n of the records that are next. One that does not open, because
// the key is another one or the file was changed, is nil. A file that cannot be read is
// passed over, and stays for the next process.
func (q *Queue) Peek(n int) (records [][]byte, err error) {
	q.seen = q.seen[:0]
	for len(records) == 0 {
		if err := q.tidy(); err != nil || len(q.segments) == 0 { // a file may have been begun in vain
			return nil, err
		}
		records, err = q.read(n)
		if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
			return nil, fmt.Errorf("backlog: %w", err) // there may be descriptors again
		}
		if err != nil && len(records) == 0 {
			q.o.Log.Error("what waits in a file cannot be read, and is passed over", "file", q.path(q.segments[0]),
				"records", q.segments[0].records-q.taken, "error", err.Error())
			if err := q.leave(); err != nil {
				return nil, err
			}
		}
	}
	return records, nil
}

// read gives records of the first segment, and with an error those before what is wrong.
func (q *Queue) read(n int) (records [][]byte, err error) {
	first := q.segments[0]
	f, err := os.Open(q.path(first))
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	in := bufio.NewReader(io.NewSectionReader(f, q.at, first.size-q.at))
	for at := q.at; len(records) < n && at < first.size; {
		var header [headerSize]byte
		if _, err := io.ReadFull(in, header[:]); err != nil {
			return records, err
		}
		sealed := make([]byte, min(int64(binary.BigEndian.Uint32(header[:])), first.size-at-headerSize))
		if _, err := io.ReadFull(in, sealed); err != nil {
			return records, err
		}
		record, err := q.o.Box.Open(sealed, q.name(first))
		if err != nil {
			record = nil
		}
		at += headerSize + int64(len(sealed))
		records, q.seen = append(records, record), append(q.seen, at)
	}
	return records, nil
}

// Drop takes the first n records off that Peek gave last.
func (q *Queue) Drop(n int) error {
	if n == 0 {
		return nil
	}
	q.at = q.seen[n-1]
	q.seen = q.seen[n:]
	q.taken += n
	q.count.Add(-int64(n))
	return q.tidy()
}

// tidy removes segments of which nothing is left. One that cannot be removed, as on a
// disk that is read-only by now, is read again by the next process, and holds nothing up.
func (q *Queue) tidy() error {
	for len(q.segments) > 0 && q.at >= q.segments[0].size {
		name := q.path(q.segments[0])
		if err := q.leave(); err != nil {
			return err
		}
		if err := os.Remove(name); err != nil {
			q.o.Log.Error("a file of which everything is done cannot be removed", "file", name, "error", err.Error())
		}
	}
	return nil
}

// leave takes the first segment off the list, and leaves its file.
func (q *Queue) leave() error {
	if len(q.segments) == 1 {
		if err := q.end(); err != nil {
			return err
		}
	}
	first := q.segments[0]
	q.size.Add(-first.size)
	q.count.Add(-int64(first.records - q.taken))
	q.segments, q.at, q.taken = q.segments[1:], 0, 0
	return nil
}

// Close leaves what waits to the next process.
func (q *Queue) Close() error { return q.end() }
