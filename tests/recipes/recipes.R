# The recipes of docs/analysts.md for R. The pieces below the lines of dashes stand there word for word.
# ---- csv
Sys.setenv(CURL_CA_BUNDLE = Sys.getenv("HUB_CA"))
download <- function(path, file) {
  download.file(
    paste0("https://", Sys.getenv("HUB_ADDRESS"), path),
    file,
    method = "libcurl",
    quiet = TRUE,
    mode = "wb",
    headers = c(Authorization = paste("Bearer", Sys.getenv("HUB_TOKEN")))
  )
}

download("/releases/latest/members.csv", "members.csv")
members <- read.csv("members.csv", fileEncoding = "UTF-8-BOM", na.strings = "")
print(table(members$site))
# ---- end
if (!requireNamespace("arrow", quietly = TRUE)) quit()
# ---- parquet
library(arrow)

download("/releases/latest/members.parquet", "members.parquet")
members <- read_parquet("members.parquet")
print(table(members$site, members$qualification_level))
