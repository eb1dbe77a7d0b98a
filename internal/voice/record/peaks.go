package record

import "encoding/binary"

// mostPeaks is how many buckets a channel has at most.
const mostPeaks = 500

// peaks draws the waveform of a recording as it is read.
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
	for ; len(frames) >= frameSize; frames = frames[frameSize:] {
		bucket := p.frames >> p.shift
		if bucket == mostPeaks {
			p.widen()
			bucket /= 2
		}
		for channel := range p.loudest {
			level := loudness(int16(binary.LittleEndian.Uint16(frames[2*channel:])))
			if at := &p.loudest[channel][bucket]; level > *at {
				*at = level
			}
		}
		p.frames++
	}
}

func loudness(sample int16) uint8 {
	if sample < 0 {
		sample = ^sample // one less than its amount, so that the lowest has one
	}
	return uint8(sample >> 7)
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
