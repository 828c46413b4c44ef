/* The cheapest thing that can be executed: what a measured exec runs. */
int main(void)
{
	return 0;
}
