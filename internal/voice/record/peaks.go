package record

import "encoding/binary"

// mostPeaks is how many buckets a channel has at most.
const mostPeaks = 500

// peaks draws the waveform of a recording as it is written.
//
// Stored.Peaks holds the left channel's buckets and then as many of the right
// one's. A bucket is the loudest sample of its time, as |sample| / 128 from 0 to
// 255. All buckets are of the same time, the last perhaps of less: the smallest
// power of two of samples with which there are no more than mostPeaks.
type peaks struct {
	loudest [channels][mostPeaks]uint8
	frames  int64
	shift   uint // a bucket is 1<<shift frames
}

// add takes whole frames.
func (p *peaks) add(frames []byte) {
	for len(frames) >= frameSize {
		bucket := p.frames >> p.shift
		if bucket == mostPeaks {
			p.widen()
			continue
		}
		n := min((bucket+1)<<p.shift-p.frames, int64(len(frames)/frameSize))
		var left, right int32
		for run := frames[:n*frameSize]; len(run) >= frameSize; run = run[frameSize:] {
			frame := binary.LittleEndian.Uint32(run)
			l, r := int32(int16(frame)), int32(frame)>>16
			left, right = max(left, l^l>>31), max(right, r^r>>31) // of a negative one its amount less 1, so that the lowest has one
		}
		p.loudest[0][bucket] = max(p.loudest[0][bucket], uint8(left>>7))
		p.loudest[1][bucket] = max(p.loudest[1][bucket], uint8(right>>7))
		p.frames += n
		frames = frames[n*frameSize:]
	}
}

// widen makes one bucket of two.
func (p *peaks) widen() {
	for channel := range p.loudest {
		b := &p.loudest[channel]
		for i := range mostPeaks / 2 {
			b[i] = max(b[2*i], b[2*i+1])
		}
		clear(b[mostPeaks/2:])
	}
	p.shift++
}

func (p *peaks) bytes() []byte {
	n := (p.frames + 1<<p.shift - 1) >> p.shift
	b := make([]byte, 0, channels*n)
	for channel := range p.loudest {
		b = append(b, p.loudest[channel][:n]...)
	}
	return b
}
