# The recipe of docs/analysts.md for R. The piece below the line of dashes stands there word for word.
# ---- r
library(arrow)

Sys.setenv(CURL_CA_BUNDLE = Sys.getenv("HUB_CA"))
download.file(
  paste0("https://", Sys.getenv("HUB_ADDRESS"), "/releases/latest/members.parquet"),
  "members.parquet",
  method = "libcurl",
  mode = "wb",
  headers = c(Authorization = paste("Bearer", Sys.getenv("HUB_TOKEN")))
)
members <- read_parquet("members.parquet")
print(table(members$site))
