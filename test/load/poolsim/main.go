// Command poolsim shows how many shared virtual numbers a load needs with the
// automatic choice, against what no choice can do without and what every choice has
// enough with; see docs/capacity.md.
package main

import "fmt"

func main() {
	fmt.Println("| load | sessions at once | most of one A + B | at least | needed | ratio | always enough | first fit | most loaded |")
	fmt.Println("|---|---|---|---|---|---|---|---|---|")
	for _, l := range loads() {
		fmt.Println(l.line())
	}
}
