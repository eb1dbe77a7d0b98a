package main

import (
	"fmt"
	"slices"
	"strings"
)

// picture draws how even each division is: the shards by their load, in parts of the mean.
func picture() string {
	const width, height, left, top, most = 760, 380, 60, 30, 10.0
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="13">`+"\n", width, height)
	b.WriteString(`<rect width="100%" height="100%" fill="white"/>` + "\n")
	x := func(i int) float64 { return left + float64(i)*(width-left-20)/63 }
	y := func(load float64) float64 { return top + (height-top-50)*(1-min(load, most)/most) }
	for mark := range int(most) + 1 {
		fmt.Fprintf(&b, `<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">%d</text>`+"\n",
			left, y(float64(mark)), width-20, y(float64(mark)), left-8, y(float64(mark))+4, mark)
	}
	for i, d := range divisions()[1:] {
		color := []string{"#c0392b", "#2980b9", "#27ae60"}[i]
		p := played(d, everyday(), 64)
		loads := slices.Clone(p.load)
		slices.Sort(loads)
		slices.Reverse(loads)
		sum := 0
		for _, n := range loads {
			sum += n
		}
		var points []string
		for i, n := range loads {
			points = append(points, fmt.Sprintf("%.1f,%.1f", x(i), y(float64(n)*64/float64(sum))))
		}
		fmt.Fprintf(&b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", strings.Join(points, " "), color)
		fmt.Fprintf(&b, `<text x="%d" y="%d" fill="%s">%s: the busiest has %.1f of the mean</text>`+"\n", left+120, top+20+20*i, color, d.name, p.uneven())
	}
	fmt.Fprintf(&b, `<text x="%d" y="%d">64 shards, the busiest first; load in parts of the mean</text>`+"\n", left, height-15)
	b.WriteString("</svg>\n")
	return b.String()
}
