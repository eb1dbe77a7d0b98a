package record

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"filippo.io/age"

	"tandem/internal/voice/g711"
	"tandem/internal/voice/wav"
)

// A spool file is an age file whose content is a WAV of unknown length and, if
// it was ended properly, a footer behind the last sample. age seals 64 KiB at a
// time, two seconds of sound, each piece for itself and in its place: so a file
// that is cut off anywhere gives everything before the piece that was cut.
const (
	running   = ".part" // of the name while it is written, and after a crash
	ended     = ".done"
	channels  = 2
	footerTag = "tandemR1"
	tailLen   = 40 // of the footer: what stands behind the peaks
)

// contents is what a spool file holds. A footer is all of it: the peaks, their
// number, the frames, both counts, and the tag, in numbers of 64 bits.
type contents struct {
	frames        int64
	peaks         []byte
	dropped, late uint64
	whole         bool // there was a footer
}

func (c contents) footer() []byte {
	b := binary.LittleEndian.AppendUint64(slices.Clone(c.peaks), uint64(len(c.peaks)))
	b = binary.LittleEndian.AppendUint64(b, uint64(c.frames))
	b = binary.LittleEndian.AppendUint64(b, c.dropped)
	b = binary.LittleEndian.AppendUint64(b, c.late)
	return append(b, footerTag...)
}

// readFooter reads the footer of content that is so long.
func readFooter(plain io.ReaderAt, size int64) (c contents, ok bool) {
	tail := make([]byte, tailLen)
	if size < wav.HeaderSize+tailLen {
		return contents{}, false
	}
	if n, _ := plain.ReadAt(tail, size-tailLen); n < tailLen || string(tail[32:]) != footerTag {
		return contents{}, false
	}
	peaks := binary.LittleEndian.Uint64(tail)
	c = contents{frames: int64(binary.LittleEndian.Uint64(tail[8:])), dropped: binary.LittleEndian.Uint64(tail[16:]),
		late: binary.LittleEndian.Uint64(tail[24:]), whole: true}
	if peaks > channels*mostPeaks || c.frames < 0 || c.frames > size || wav.HeaderSize+c.frames*frameSize+int64(peaks)+tailLen != size {
		return contents{}, false
	}
	c.peaks = make([]byte, peaks)
	n, _ := plain.ReadAt(c.peaks, size-tailLen-int64(peaks))
	return c, n == len(c.peaks)
}

// createFile makes a spool file that nobody else can read. It must not exist.
func createFile(path string) (io.WriteCloser, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
}

// spoolFile is a spool file that is being written.
type spoolFile struct {
	path   string
	file   io.WriteCloser
	sealed io.WriteCloser // seals into file
}

// openSpool begins the spool file of a name.
func (r *Recorder) openSpool(name string, to age.Recipient) (*spoolFile, error) {
	base := filepath.Join(r.o.Dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(base), 0o700); err != nil {
		return nil, fmt.Errorf("spool recording: %w", err)
	}
	if _, err := os.Lstat(base + ended); err == nil {
		return nil, fmt.Errorf("spool recording: an earlier one is not stored yet: %w", fs.ErrExist)
	}
	file, err := r.create(base + running)
	if err != nil {
		return nil, fmt.Errorf("spool recording: %w", err)
	}
	s := &spoolFile{path: base + running, file: file}
	if s.sealed, err = age.Encrypt(file, to); err == nil {
		_, err = s.sealed.Write(wav.Header(g711.Rate, channels, wav.Unknown))
	}
	if err != nil {
		s.abandon()
		_ = os.Remove(s.path) // nothing is in it
		return nil, fmt.Errorf("spool recording: %w", err)
	}
	return s, nil
}

func (s *spoolFile) Write(frames []byte) (int, error) { return s.sealed.Write(frames) }

// abandon leaves the file as it is.
func (s *spoolFile) abandon() { _ = s.file.Close() }

// finish ends the file properly. It is not synced: a loss of power before it is
// stored can cost its end, as a crash can, and is found out in the same way.
func (s *spoolFile) finish(c contents) error {
	if _, err := s.sealed.Write(c.footer()); err != nil {
		return err
	}
	if err := s.sealed.Close(); err != nil {
		return err
	}
	if err := s.file.Close(); err != nil {
		return err
	}
	done := strings.TrimSuffix(s.path, running) + ended
	if err := os.Rename(s.path, done); err != nil {
		return err
	}
	s.path = done
	return nil
}

// Recover queues what an earlier process left in the spool, and says how many
// recordings that are. Those of this process are let alone. Where a file cannot
// be looked at it goes on, and tells at the end.
func (r *Recorder) Recover(ctx context.Context) (int, error) {
	var jobs []*job
	var unseen []error
	err := filepath.WalkDir(r.o.Dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, fs.ErrNotExist): // stored meanwhile
			return nil
		case err != nil:
			unseen = append(unseen, err)
			return nil
		}
		rel, err := filepath.Rel(r.o.Dir, path)
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		ext := filepath.Ext(rel)
		name := strings.TrimSuffix(filepath.ToSlash(rel), ext)
		spec, ok := parse(name)
		if !ok || ext != running && ext != ended {
			r.o.Log.Warn("file in the spool that is no recording", "folder", r.o.Dir)
			return nil
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // stored meanwhile
		}
		if err != nil {
			unseen = append(unseen, err)
			return nil
		}
		jobs = append(jobs, &job{spec: spec, name: name, path: path, reason: Lost, since: info.ModTime()})
		return nil
	})
	n := 0
	for _, j := range jobs {
		r.mu.Lock()
		mine := r.running[j.name] != nil
		r.mu.Unlock()
		if !mine && r.queue.recover(j) {
			n++
		}
	}
	if err = errors.Join(append(unseen, err)...); err != nil {
		return n, fmt.Errorf("look into the spool of recordings: %w", err)
	}
	return n, nil
}

// errNothing is what a spool file is of which nothing can be read.
var errNothing = errors.New("nothing readable in the spool file")

// spoolReader reads the content of a spool file as far as it goes.
type spoolReader struct {
	file  *os.File
	plain io.Reader
	disk  error // of the disk, not of what is on it
	cut   bool  // the content ended before its time
}

// readSpool opens a spool file. It gives errNothing for one that was cut off
// before its first sample; another error may pass.
func readSpool(path string, id age.Identity) (*spoolReader, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errNothing // somebody took it away
	}
	if err != nil {
		return nil, fmt.Errorf("read the spool: %w", err)
	}
	s := &spoolReader{file: file}
	s.plain, err = age.Decrypt(diskReader{s}, id)
	var stranger *age.NoIdentityMatchError
	if err == nil {
		head := make([]byte, wav.HeaderSize)
		_, err = io.ReadFull(s, head)
	}
	if err == nil {
		return s, nil
	}
	s.Close()
	switch {
	case s.disk != nil:
		return nil, fmt.Errorf("read the spool: %w", s.disk)
	case errors.As(err, &stranger):
		return nil, fmt.Errorf("read the spool: %w", err)
	}
	return nil, errNothing
}

// diskReader tells errors of the disk from those of the content.
type diskReader struct{ s *spoolReader }

func (d diskReader) Read(p []byte) (int, error) {
	n, err := d.s.file.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		d.s.disk = err
	}
	return n, err
}

// Read gives what was sealed. Its end is io.EOF only where the file ends as it
// should. Between two pieces it lets others have the processor: nobody waits
// for the end of this, and media is on the way.
func (s *spoolReader) Read(p []byte) (int, error) {
	runtime.Gosched()
	n, err := s.plain.Read(p)
	if s.disk != nil {
		err = s.disk
	}
	s.cut = s.cut || err != nil && !errors.Is(err, io.EOF)
	return n, err
}

func (s *spoolReader) Close() { _ = s.file.Close() }

// summary tells what a spool file holds, from its footer, whose piece proves
// how long the file is, else by reading it.
func summary(path string, id age.Identity) (contents, error) {
	file, err := os.Open(path)
	if err == nil {
		defer func() { _ = file.Close() }()
		if info, err := file.Stat(); err == nil {
			if plain, size, err := age.DecryptReaderAt(file, info.Size(), id); err == nil {
				if c, ok := readFooter(plain, size); ok {
					return c, nil
				}
			}
		}
	}
	return survey(path, id) // which also says what is wrong
}

// survey reads a spool file as far as it goes.
func survey(path string, id age.Identity) (contents, error) {
	s, err := readSpool(path, id)
	if err != nil {
		return contents{}, err
	}
	defer s.Close()
	var look peaks
	buf, have := make([]byte, sealedChunk), 0
	for {
		n, err := s.Read(buf[have:])
		have += n
		use := have - have%frameSize
		look.add(buf[:use])
		have = copy(buf, buf[use:have])
		if s.disk != nil {
			return contents{}, fmt.Errorf("read the spool: %w", s.disk)
		}
		if err != nil { // the end, or a piece that was cut
			break
		}
	}
	if look.frames == 0 {
		return contents{}, errNothing
	}
	return contents{frames: look.frames, peaks: look.bytes()}, nil
}
